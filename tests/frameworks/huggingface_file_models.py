"""Run with transformers: small models of images and sounds as folders, and what transformers itself answers to some files."""

import json

import numpy as np
import torch
import transformers
from PIL import Image

torch.manual_seed(3)
RANDOM = np.random.default_rng(3)
LABELS = {"id2label": {0: "calm", 1: "rough", 2: "storm"}, "label2id": {"calm": 0, "rough": 1, "storm": 2}}
VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
SEVERAL = {**LABELS, "problem_type": "multi_label_classification"}
ONE = {"id2label": {0: "storm"}, "label2id": {"storm": 0}}
NUMBERS = {"num_labels": 2, "problem_type": "regression"}
WAV2VEC2 = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 8),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16, "vocab_size": 8,
}  # fmt: skip


def images() -> list[Image.Image]:
    return [
        Image.new("RGB", (40, 40)), Image.new("RGB", (33, 47), (255, 255, 255)),
        *(Image.fromarray(RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((32, 32), (31, 77), (200, 150))),
    ]  # fmt: skip


def write() -> None:
    answers: dict[str, list] = {}
    pictures = images()
    for at, picture in enumerate(pictures):
        picture.save(f"{at}.png")
    processor = transformers.models.vit.image_processing_pil_vit.ViTImageProcessorPil(size={"height": 32, "width": 32})
    for name, settings in (("vit", LABELS), ("vit-several", SEVERAL), ("vit-one", ONE), ("vit-numbers", NUMBERS)):
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, **settings)).eval()
        model.save_pretrained(name)
        processor.save_pretrained(name)
        pipeline = transformers.ImageClassificationPipeline(model=model, image_processor=processor)
        answers[name] = [_scores(model, pipeline(picture)) for picture in pictures]
    sounds = [np.zeros(4000), RANDOM.normal(0, 0.2, 8000), RANDOM.normal(0, 0.1, 1500), np.sin(np.arange(6000) / 9)]
    np.savez("sounds.npz", **{str(at): sound.astype(np.float32) for at, sound in enumerate(sounds)})
    hears = transformers.Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16000, do_normalize=True)
    for name, settings in (("wav2vec2", LABELS), ("wav2vec2-several", SEVERAL)):
        model = transformers.Wav2Vec2ForSequenceClassification(transformers.Wav2Vec2Config(**WAV2VEC2, **settings)).eval()
        model.save_pretrained(name)
        hears.save_pretrained(name)
        pipeline = transformers.AudioClassificationPipeline(model=model, feature_extractor=hears)
        answers[name] = [_scores(model, pipeline(sound.astype(np.float32))) for sound in sounds]
    with open("answers.json", "w") as file:  # noqa: PTH123
        json.dump(answers, file)


def _scores(model: transformers.PreTrainedModel, found: list[dict]) -> list[float]:
    """What a pipeline answered, in the order of the model's labels."""
    by_label = {each["label"]: each["score"] for each in found}
    return [by_label[model.config.id2label[at]] for at in range(len(by_label))]
