"""The step of texts: what the model is fed, whatever the batch; what is made of its answers; what is refused."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from aweigh.core.errors import InvalidFile, InvalidInput, TooLarge
from aweigh.core.protocols import Session
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.steps import TextStep
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runtimes.text import MAX_CHARACTERS, around

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "anchor", "is", "aweigh", "maria", "lives", "in", "berlin", "istanbul", "."]
F32, I64, TEXT = Datatype.FP32, Datatype.INT64, Datatype.BYTES


class Fed:
    """A session that answers by a function of what it is fed, and remembers that."""

    concurrent = True
    isolated = False

    def __init__(self, answer: Callable[[Tensors], Sequence[Tensor]]) -> None:
        self.answer = answer
        self.seen: list[dict[str, Tensor]] = []
        self.closed = False

    def run(self, inputs: Tensors) -> list[Tensor]:
        self.seen.append(dict(inputs))
        return list(self.answer(inputs))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def tokenizer(tmp_path: Path) -> Callable[[str], Path]:
    made = tokenizers.Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(WORDS[:4])
    made.save(str(tmp_path / "tokenizer.json"))
    return lambda path: tmp_path / path


def spec(name: str, datatype: Datatype, *axes: int | str, padding: int | None = None) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(BATCH, *axes), padding=padding)


def step(*outputs: TensorSpec, texts: tuple[str, ...] = ("text",), **more: Any) -> TextStep:
    inputs = (
        spec("input_ids", I64, "tokens", padding=9),
        spec("attention_mask", I64, "tokens", padding=0),
        spec("token_type_ids", I64, "tokens", padding=0),
    )
    told = {"max_tokens": 8, **more}
    return TextStep(tokenizer="tokenizer.json", texts=texts, model_signature=Signature(inputs=inputs, outputs=outputs), **told)


def whole(texts: tuple[str, ...], *outputs: TensorSpec, labels: tuple[str, ...] = ()) -> Signature:
    inputs = tuple(spec(name, TEXT, 1) for name in texts)
    return Signature(inputs=inputs, outputs=outputs, labels=labels, task=Task.CLASSIFICATION if labels else Task.GENERAL)


def column(*texts: object) -> Tensor:
    made = np.empty((len(texts), 1), dtype=object)
    made[:, 0] = texts
    return made


def lengths(inputs: Tensors) -> list[Tensor]:
    return [inputs["attention_mask"].sum(axis=1, keepdims=True).astype(np.float32)]


PLAIN = spec("embedding", F32, 1)


def test_rows_of_any_length_come_back_in_their_order(tokenizer: Callable[[str], Path]) -> None:
    fed = Fed(lengths)
    session: Session = around(fed, step(PLAIN), whole(("text",), PLAIN), tokenizer)
    texts = ["the anchor is aweigh", "", "anchor", "the anchor is aweigh . the anchor is aweigh", "anchor is"]
    (found,) = session.run({"text": column(*texts)})
    assert found.ravel().tolist() == [6, 2, 3, 8, 4]
    (call,) = fed.seen
    assert call["input_ids"].shape == (5, 8)
    assert all(tensor.dtype == np.int64 for tensor in call.values())
    empty = call["input_ids"][call["attention_mask"].sum(axis=1) == 2]
    assert empty.tolist() == [[2, 3, 9, 9, 9, 9, 9, 9]]
    alone = [session.run({"text": column(text)})[0][0, 0] for text in texts]
    assert alone == [6, 2, 3, 8, 4]
    session.close()
    assert fed.closed


def test_no_rows_are_answered_by_none(tokenizer: Callable[[str], Path]) -> None:
    fed = Fed(lengths)
    outputs = spec("label", TEXT), spec("probabilities", F32, 3)
    probabilities = spec("probabilities", F32, 3)
    session = around(fed, step(probabilities, answer="label"), whole(("text",), *outputs, labels=("a", "b", "c")), tokenizer)
    label, chances = session.run({"text": column()})
    assert (label.shape, label.dtype, chances.shape, chances.dtype) == ((0,), object, (0, 3), np.float32)
    assert fed.seen == []


def test_texts_are_cut_filled_up_and_prepared_as_the_step_says(tokenizer: Callable[[str], Path]) -> None:
    fed = Fed(lengths)
    told = step(PLAIN, max_tokens=4, cuts="left", pads="left", prefix="the ")
    around(fed, told, whole(("text",), PLAIN), tokenizer).run({"text": column("  ANCHOR is aweigh ", "")})
    assert fed.seen[0]["input_ids"].tolist() == [[9, 2, 4, 3], [2, 6, 7, 3]]


def test_a_lone_dotless_letter_and_what_is_not_known_are_tokens(tokenizer: Callable[[str], Path]) -> None:
    fed = Fed(lengths)
    session = around(fed, step(PLAIN), whole(("text",), PLAIN), tokenizer)
    session.run({"text": column("İSTANBUL", "ıstanbul", "i\u0307stanbul", b"istanbul", "👩‍🚀")})
    ids = {tuple(row) for row in fed.seen[0]["input_ids"][:, 1:2].tolist()}
    assert ids == {(12,), (1,)}, "with a dot above, composed or not, it is the word; without, and for emoji, it is unknown"


def test_pairs_keep_the_second_text_apart(tokenizer: Callable[[str], Path]) -> None:
    fed = Fed(lengths)
    texts = ("question", "context")
    session = around(fed, step(PLAIN, texts=texts, max_tokens=7, truncation="only_second"), whole(texts, PLAIN), tokenizer)
    session.run({"question": column("anchor"), "context": column("the anchor is aweigh")})
    assert fed.seen[0]["input_ids"].tolist() == [[2, 5, 3, 4, 5, 6, 3]]
    assert fed.seen[0]["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1]]
    with pytest.raises(InvalidInput, match="cannot be cut"):
        session.run({"question": column("the anchor is aweigh the anchor is"), "context": column("anchor")})


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (None, InvalidInput, "missing element"),
        ("x" * (MAX_CHARACTERS + 1), TooLarge, "200001 characters"),
        (b"\xff", InvalidInput, "not UTF-8"),
        ("\ud800", InvalidInput, "cannot be cut"),
    ],
    ids=["missing", "long", "bytes", "surrogate"],
)
def test_what_is_no_text_is_refused(tokenizer: Callable[[str], Path], text: object, error: type[Exception], said: str) -> None:
    fed = Fed(lengths)
    with pytest.raises(error, match=said):
        around(fed, step(PLAIN), whole(("text",), PLAIN), tokenizer).run({"text": column("anchor", text)})
    assert not fed.seen


def test_many_long_rows_run_in_parts(tokenizer: Callable[[str], Path]) -> None:
    fed = Fed(lengths)
    told = step(PLAIN, max_tokens=4096)
    texts = ["anchor " * 3000] * 7 + ["anchor"]
    (found,) = around(fed, told, whole(("text",), PLAIN), tokenizer).run({"text": column(*texts)})
    assert found.ravel().tolist() == [3002] * 7 + [3]
    assert [call["input_ids"].shape for call in fed.seen] == [(5, 3002), (3, 3002)]


def test_the_likeliest_label_goes_before_the_probabilities(tokenizer: Callable[[str], Path]) -> None:
    inner = spec("probabilities", F32, 2)
    outer = (TensorSpec(name="label", datatype=TEXT, shape=(BATCH,), role="label"), inner)
    fed = Fed(
        lambda inputs: [np.where(inputs["attention_mask"].sum(axis=1, keepdims=True) > 3, [[0.1, 0.9]], [[0.8, 0.2]]).astype(np.float32)]
    )
    session = around(fed, step(inner, answer="label"), whole(("text",), *outer, labels=("short", "long")), tokenizer)
    labels, chances = session.run({"text": column("the anchor is", "anchor")})
    assert labels.tolist() == ["long", "short"]
    np.testing.assert_array_equal(chances, np.float32([[0.1, 0.9], [0.8, 0.2]]))


def chances_of(*likeliest: int) -> list[list[float]]:
    return [[0.7 if at == best else 0.1 for at in range(4)] for best in likeliest]


@pytest.mark.parametrize("pads", ["right", "left"])
def test_entities_are_stretches_of_the_text(tokenizer: Callable[[str], Path], pads: str) -> None:
    """Labels O, B-PER, I-PER, LOC, of "Maria lives in Berlin", beside a longer row; special tokens and what was filled up count for nothing."""
    inner = spec("probabilities", F32, "tokens", 4)
    outer = (spec("entities", TEXT), spec("score", F32))
    best = {8: 1, 9: 0, 10: 0, 11: 3, 5: 2, 7: 1}

    def answer(inputs: Tensors) -> list[Tensor]:
        return [np.array([chances_of(*(best.get(each, 3) for each in row)) for row in inputs["input_ids"].tolist()], dtype=np.float32)]

    signature = whole(("text",), *outer, labels=("O", "B-PER", "I-PER", "LOC"))
    session = around(Fed(answer), step(inner, answer="entities", pads=pads), signature, tokenizer)
    found, scores = session.run({"text": column("Maria lives  in Berlin", "maria anchor aweigh in in in", "lives")})
    assert json.loads(found[0]) == [
        {"label": "PER", "start": 0, "end": 5, "text": "Maria"},
        {"label": "LOC", "start": 16, "end": 22, "text": "Berlin"},
    ]
    assert [(each["label"], each["text"]) for each in json.loads(found[1])] == [("PER", "maria anchor"), ("PER", "aweigh")]
    assert json.loads(found[2]) == []
    np.testing.assert_allclose(scores, [0.7, 0.7, 1.0], rtol=1e-6)


@pytest.mark.parametrize("pads", ["right", "left"])
def test_an_answer_is_a_stretch_of_the_context(tokenizer: Callable[[str], Path], pads: str) -> None:
    inner = (spec("start_logits", F32, "tokens"), spec("end_logits", F32, "tokens"))
    outer = (spec("answer", TEXT), spec("score", F32), spec("start", I64), spec("end", I64))

    def answer(inputs: Tensors) -> list[Tensor]:
        ids = inputs["input_ids"]
        return [np.where(ids == 10, 9.0, -9.0).astype(np.float32), np.where((ids == 11) | (ids == 8), 9.0, -9.0).astype(np.float32)]

    texts = ("question", "context")
    told = step(*inner, texts=texts, max_tokens=20, answer="span", truncation="only_second", pads=pads)
    session = around(Fed(answer), told, whole(texts, *outer), tokenizer)
    asked = {
        "question": column("maria", "is"),
        "context": column("Maria lives in Berlin.", "in Berlin the anchor is aweigh . the anchor is"),
    }
    answers, scores, starts, ends = session.run(asked)
    assert answers.tolist() == ["in Berlin", "in Berlin"]
    assert (starts.tolist(), ends.tolist()) == ([12, 0], [21, 9])
    assert starts.dtype == ends.dtype == np.int64
    assert (scores > 0.4).all()


def test_a_step_that_cannot_be_is_refused_at_load(tokenizer: Callable[[str], Path], tmp_path: Path) -> None:
    fed = Fed(lengths)
    with pytest.raises(InvalidFile, match="are not made of embedding"):
        around(fed, step(PLAIN, answer="label"), whole(("text",), PLAIN), tokenizer)
    with pytest.raises(InvalidFile, match="2 outputs"):
        around(fed, step(PLAIN, PLAIN), whole(("text",), PLAIN), tokenizer)
    strange = TextStep(
        tokenizer="tokenizer.json",
        texts=("text",),
        max_tokens=8,
        model_signature=Signature(inputs=(spec("pixels", F32, 3),), outputs=(PLAIN,)),
    )
    with pytest.raises(InvalidFile, match="pixels"):
        around(fed, strange, whole(("text",), PLAIN), tokenizer)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(InvalidFile, match="not a readable tokenizer"):
        around(fed, step(PLAIN), whole(("text",), PLAIN), tokenizer)
