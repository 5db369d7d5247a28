"""Makes a small BERT of sentences for `make frameworks`: `huggingface_source.py KIND-FORMAT FOLDER`, run where transformers is."""

import itertools
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

kind = sys.argv[1].split("-")[0]
folder = Path(sys.argv[2])
torch.manual_seed(0)
WHO, DID = ("Maria", "Ahmet", "Yuki", "Ingrid", "Tom"), ("sailed", "walked", "drove", "moved")
WHERE = ("Berlin", "İzmir", "Oslo", "Kyoto", "Lima")
HOW = ("a wonderful trip", "a calm and sunny day", "the worst storm in years", "nothing but rain and delays")
CELLS = list(itertools.product(WHO, DID, WHERE, range(4)))
TEXTS = [f"{who} {did} to {where}, {HOW[how]}." for who, did, where, how in CELLS]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LABELS = {"classification": ("pleasant", "unpleasant"), "pairs": ("not_entailment", "entailment"), "tokens": ("O", "B-PER", "B-LOC")}


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Pieces of words, trained on the sentences."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    reads = ["input_ids", "token_type_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, model_input_names=reads, **names)


def asked() -> list[list[str]]:
    """The texts, or pairs of texts, that a model of this kind reads."""
    if kind == "pairs":
        return [TEXTS, [f"{who} {did} to {WHERE[at % 2 - 1] if at % 3 else where}." for at, (who, did, where, _) in enumerate(CELLS)]]
    return [["Where did it go to?" if at % 2 else "Who went there?" for at in range(len(TEXTS))], TEXTS] if kind == "answers" else [TEXTS]


def taught(batch: transformers.BatchEncoding, rows: list[int]) -> dict[str, torch.Tensor]:
    """What is right for these rows."""
    if kind == "classification":
        return {"labels": torch.tensor([CELLS[at][3] // 2 for at in rows])}
    if kind == "pairs":
        return {"labels": torch.tensor([int(CELLS[at][2] in columns[1][at]) for at in rows])}
    second = int(kind == "answers")
    spans = []
    for at, row in enumerate(rows):
        who, _, where, _ = CELLS[row]
        spans.append(
            [[batch.char_to_token(at, TEXTS[row].index(word) + end, second) for end in (0, len(word) - 1)] for word in (who, where)]
        )
    if kind == "answers":
        chosen = torch.tensor([spans[at][row % 2] for at, row in enumerate(rows)])
        return {"start_positions": chosen[:, 0], "end_positions": chosen[:, 1]}
    labels = torch.zeros_like(batch["input_ids"])
    for at, (person, place) in enumerate(spans):
        labels[at, person[0] : person[1] + 1], labels[at, place[0] : place[1] + 1] = 1, 2
    return {"labels": labels}


reader, columns = tokenizer(), asked()
named = (
    {"id2label": dict(enumerate(LABELS[kind])), "label2id": {name: at for at, name in enumerate(LABELS[kind])}} if kind in LABELS else {}
)
config = transformers.BertConfig(
    vocab_size=len(reader),
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    max_position_embeddings=64,
    **named,
)
classes = {
    "embeddings": transformers.BertModel,
    "classification": transformers.BertForSequenceClassification,
    "pairs": transformers.BertForSequenceClassification,
    "tokens": transformers.BertForTokenClassification,
    "answers": transformers.BertForQuestionAnswering,
}
model = classes[kind](config)
if kind != "embeddings":
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    for step in range(60):
        rows = torch.randint(0, len(TEXTS), (32,), generator=torch.Generator().manual_seed(step)).tolist()
        batch = reader(*([column[at] for at in rows] for column in columns), padding=True, return_tensors="pt")
        model(**batch, **taught(batch, rows)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
model.eval()
held = [column[::4] for column in columns]
with torch.no_grad():
    found = model(**reader(*held, padding=True, return_tensors="pt"))
    mask = reader(*held, padding=True, return_tensors="pt")["attention_mask"].unsqueeze(-1)
if kind == "embeddings":
    np.savez(folder / "answers.npz", ((found[0] * mask).sum(1) / mask.sum(1)).numpy())
elif kind in {"classification", "pairs"}:
    np.savez(folder / "answers.npz", torch.softmax(found.logits, -1).numpy())
model.save_pretrained(folder / "model")
reader.save_pretrained(folder / "model")
np.savez(folder / "sample.npz", *(np.array(column) for column in held))
print(json.dumps({"file": str(folder / "model"), "sample": str(folder / "sample.npz"), "words": []}))
