"""Run in the environment `huggingface`: small random models with a tokenizer trained on the spot, each in a folder of its own."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "the ship left the harbour at dawn", "maria moved from berlin to new york", "a wonderful film about two ships in the night",
    "how do i reset my password", "prices rose by three and a half percent", "it broke after two days and nobody answered",
]  # fmt: skip
ODD = [
    "", " ", "ISPARTA ılık İzmir'de DİYARBAKIR", "cafe\u0301 café A\u030a", "👩‍👩‍👧‍👦 🏳️‍🌈 ⚓️", "\u200bno width\u200d\u00a0\ufeff", "שלום 漢字 한국어",
    "[CLS] [SEP] <s> </s>", "nul\x00", "a" * 500, "anchor " * 500, "naïve Straße ﬀ", "  two  spaces ",
]  # fmt: skip
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer(size: int) -> transformers.PreTrainedTokenizerFast:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(TEXTS * 5, trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=40, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    )


def bytes_tokenizer(size: int) -> transformers.PreTrainedTokenizerFast:
    """As RoBERTa's: bytes, in pairs."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXTS * 5, trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet))
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token="<s>", sep_token="</s>", model_input_names=["input_ids", "attention_mask"], **names
    )


def sentences(folder: Path, model: torch.nn.Module, reader: transformers.PreTrainedTokenizerFast) -> None:
    """As sentence-transformers saves a model that writes texts small and has a prompt before them, and what it answers: the normalised mean of the tokens."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    (folder / "1_Pooling").mkdir()
    written = {
        "modules.json": [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (path, kind) in enumerate(kinds.items())
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        "sentence_bert_config.json": {"max_seq_length": 44, "do_lower_case": True},
        "config_sentence_transformers.json": {"prompts": {"query": "Anchor: "}, "default_prompt_name": "query"},
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content))
    reader.backend_tokenizer.normalizer = normalizers.Lowercase()
    found = []
    for text in ODD:
        tokens = reader(f"Anchor: {text}", truncation=True, max_length=44, return_tensors="pt")
        mean = model(**tokens).last_hidden_state[0].mean(dim=0)
        found.append((tokens["input_ids"][0].tolist(), (mean / mean.norm()).tolist()))
    known = {"texts": ODD, "ids": [ids for ids, _ in found], "embeddings": [each for _, each in found]}
    (folder.parent / "embeddings.json").write_text(json.dumps(known))


def config(words: int, **more: object) -> transformers.BertConfig:
    return transformers.BertConfig(
        vocab_size=words, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=48,
        pad_token_id=0, **{"initializer_range": 0.6, **more},
    )  # fmt: skip


def named(*labels: str) -> dict[str, object]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}


def main(folder: Path) -> None:
    torch.manual_seed(5)
    reader = tokenizer(120)
    words = len(reader)
    kinds = {
        "classifier": transformers.BertForSequenceClassification(config(words, **named("calm", "rough", "storm"))),
        "pairs": transformers.BertForSequenceClassification(config(words, **named("entailment", "neutral", "contradiction"))),
        "several": transformers.BertForSequenceClassification(
            config(words, problem_type="multi_label_classification", **named("a", "b", "c"))
        ),
        "score": transformers.BertForSequenceClassification(
            config(words, num_labels=1, initializer_range=0.2)
        ),  # rounding grows with the weights: a single sum may cancel to next to nothing
        "tokens": transformers.BertForTokenClassification(config(words, **named("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))),
        "answers": transformers.BertForQuestionAnswering(config(words)),
        "plain": transformers.BertModel(config(words)),
    }
    for name, model in kinds.items():
        model.eval().save_pretrained(folder / name)
        reader.save_pretrained(folder / name)
    torch.save(kinds["score"].state_dict(), folder / "score" / "pytorch_model.bin")
    (folder / "score" / "model.safetensors").unlink()
    words = len(byte_reader := bytes_tokenizer(400))
    model = transformers.RobertaModel(
        transformers.RobertaConfig(
            vocab_size=words,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=48,
            type_vocab_size=1,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            initializer_range=0.6,
        )
    ).eval()
    model.save_pretrained(folder / "sentences")
    byte_reader.save_pretrained(folder / "sentences")
    found = {}
    with torch.no_grad():
        sentences(folder / "sentences", model, byte_reader)
        for name, texts in (("classifier", [TEXTS[0]]), ("pairs", [TEXTS[0], TEXTS[1]]), ("several", [TEXTS[2]]), ("score", [TEXTS[3]])):
            found[name] = kinds[name](**reader(*texts, return_tensors="pt")).logits[0].tolist()
    (folder / "logits.json").write_text(json.dumps(found))


main(Path.cwd())
