"""Encoders of texts: embeddings, classifiers of texts, pairs and tokens, answers to questions. Called by `huggingface.py`.

`ask` answers as transformers does, one text at a time and never filled up: that is what batches of the package are held against.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers

from aweigh.core.errors import InvalidFile, InvalidInput, ProofFailed, Unsupported
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, Task, TensorSpec
from aweigh.core.steps import Answer, TextStep
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.frameworks.huggingface_folder import Folder
from aweigh.packing.frameworks.huggingface_heads import Embedding, Head, Pooling, pooling_of, scored
from aweigh.packing.frameworks.huggingface_tokens import Reading, check_tokenizer, inputs_of, lowercase, most_tokens, read_tokenizer
from aweigh.packing.refused import Asker
from aweigh.runtimes.text import read_tokenizer as read_tokenizer_file
from aweigh.runtimes.text_answers import MAX_ANSWER_TOKENS

TOKENIZER: Final = "steps/tokenizer.json"
_TOKENS: Final = "tokens"
_PAIRS: Final = frozenset({"entailment", "contradiction", "not_entailment", "duplicate", "not_duplicate", "equivalent", "not_equivalent"})
_F32, _I64, _TEXT = Datatype.FP32, Datatype.INT64, Datatype.BYTES


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """What is packed: the module to write down, how it is read and asked, and the signatures outside and inside of its step."""

    module: Any
    inputs: tuple[str, ...]
    step: TextStep
    signature: Signature
    reading: Reading
    ask: Asker
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A sort of model: its texts, outputs inside and outside, and how it is asked."""

    texts: tuple[str, ...]
    inner: tuple[tuple[str, tuple[int | str, ...]], ...]
    outer: tuple[TensorSpec, ...]
    module: Any
    answer: Answer
    one: Callable[..., list[Any]]
    """The answer to one row of texts."""
    task: Task = Task.GENERAL
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def encoder_of(folder: Folder, model: Any, *, pair: bool | None) -> Encoder:
    """The encoder in a loaded model. `pair` says that the sample has two texts; None leaves it to the folder. Raises InvalidFile, Unsupported."""
    tokenizer = read_tokenizer(folder)
    check_tokenizer(tokenizer, model, folder)
    reading = Reading(tokenizer=tokenizer, inputs=inputs_of(tokenizer, model), max_tokens=most_tokens(folder, tokenizer, model))
    name = folder.architecture
    if name.endswith("ForSequenceClassification"):
        kind = _classifier(folder, model, reading, pair=_is_pair(folder) if pair is None else pair)
    elif name.endswith("ForTokenClassification"):
        kind = _token_classifier(folder, model, reading)
    elif name.endswith("ForQuestionAnswering"):
        kind = _question_answering(model, reading)
    else:
        reading = _sentences(folder, reading)
        kind = _embedding(model, pooling_of(folder), reading)
    return _encoder(kind, reading)


def _encoder(kind: _Kind, reading: Reading) -> Encoder:
    model_signature = Signature(
        inputs=tuple(TensorSpec(name=name, datatype=_I64, shape=(BATCH, _TOKENS), padding=reading.fill(name)) for name in reading.inputs),
        outputs=tuple(TensorSpec(name=name, datatype=_F32, shape=(BATCH, *axes)) for name, axes in kind.inner),
    )
    step = TextStep(
        tokenizer=TOKENIZER,
        texts=kind.texts,
        max_tokens=reading.max_tokens,
        truncation="only_second" if kind.answer == "span" else "longest_first",
        cuts=reading.cuts,
        pads=reading.pads,
        prefix=reading.prefix,
        answer=kind.answer,
        model_signature=model_signature,
    )
    signature = Signature(
        inputs=tuple(TensorSpec(name=name, datatype=_TEXT, shape=(BATCH, 1), takes_missing=False) for name in kind.texts),
        outputs=kind.outer,
        task=kind.task,
        columns=tuple(Column(name=name, kind=ColumnKind.TEXT, input=name) for name in kind.texts),
        labels=kind.labels,
    )
    return Encoder(
        module=kind.module.eval(),
        inputs=reading.inputs,
        step=step,
        signature=signature,
        reading=reading,
        ask=_asker(kind, signature),
        notes=kind.notes,
    )


def _asker(kind: _Kind, signature: Signature) -> Asker:
    def ask(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        rows = list(zip(*(tensors[name].ravel().tolist() for name in kind.texts), strict=True))
        if any(text is None for row in rows for text in row):
            raise InvalidInput("a text is missing", hint="send a text")
        with torch.no_grad():
            found = [kind.one(*row) for row in rows]
        return [_column([row[at] for row in found], spec) for at, spec in enumerate(signature.outputs)]

    return ask


def _column(values: Sequence[Any], spec: TensorSpec) -> Tensor:
    if spec.datatype is not _TEXT:
        return np.asarray(values).astype(spec.datatype.dtype)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _run(model: Any, reading: Reading, *texts: str, truncation: str = "longest_first") -> tuple[Any, Any]:
    """What the model itself gives for one row, and its tokens. Lists: of a bare pair transformers leaves out an empty second text."""
    made = reading.tokenizer(
        *([reading.prepared(text)] for text in texts), truncation=truncation, max_length=reading.max_tokens, return_tensors="pt"
    )
    return model(**{name: made[name] for name in reading.inputs}), made


def _sentences(folder: Folder, reading: Reading) -> Reading:
    """As sentence-transformers prepares texts. Raises Unsupported for settings that it knows and this does not."""
    own, general = (
        found if isinstance(found := folder.json(f"{name}.json"), dict) else {}
        for name in ("sentence_bert_config", "config_sentence_transformers")
    )
    if own.get("processing_kwargs"):
        raise Unsupported(
            f"sentence_bert_config.json: 'processing_kwargs' are not taken: {str(own['processing_kwargs'])[:200]}",
            hint="export the whole to ONNX",
        )
    if own.get("do_lower_case"):
        lowercase(reading.tokenizer)
    prompts, default = general.get("prompts"), general.get("default_prompt_name")
    return dataclasses.replace(reading, prefix=str(prompts.get(default) or "") if isinstance(prompts, dict) and default else "")


def _embedding(model: Any, pooling: Pooling, reading: Reading) -> _Kind:
    size = int(model.config.hidden_size)

    def one(text: str) -> list[Any]:
        hidden = _run(model, reading, text)[0][0][0]
        pooled = {
            "cls": lambda: hidden[0],
            "mean": lambda: hidden.mean(dim=0),
            "max": lambda: hidden.max(dim=0).values,
            "mean_sqrt_len_tokens": lambda: hidden.sum(dim=0) / len(hidden) ** 0.5,
        }[pooling.mode]()
        return [(pooled / pooled.norm() if pooling.normalized else pooled).numpy()]

    return _Kind(
        texts=("text",),
        inner=(("sentence_embedding", (size,)),),
        outer=(TensorSpec(name="embedding", datatype=_F32, shape=(BATCH, size)),),
        module=Embedding(model, pooling),
        answer="",
        one=one,
        notes=(f"pooling: {pooling.mode}{', normalised' if pooling.normalized else ''} ({pooling.said})",),
    )


def _classifier(folder: Folder, model: Any, reading: Reading, *, pair: bool) -> _Kind:
    texts = ("text", "text_pair") if pair else ("text",)
    count = int(model.config.num_labels)
    if count == 1:
        return _score(folder, model, reading, texts)
    labels = labels_of(folder, model)
    several = model.config.problem_type == "multi_label_classification"
    becomes = "sigmoid" if several else "softmax"

    def one(*row: str) -> list[Any]:
        scores = _run(model, reading, *row)[0][0][0]
        if several:
            return [torch.sigmoid(scores).numpy()]
        return [labels[int(scores.argmax())], torch.softmax(scores, dim=-1).numpy()]

    chances = TensorSpec(name="probabilities", datatype=_F32, shape=(BATCH, count), role="probability")
    label = TensorSpec(name="label", datatype=_TEXT, shape=(BATCH,), role="label")
    return _Kind(
        texts=texts,
        inner=(("probabilities", (count,)),),
        outer=(chances,) if several else (label, chances),
        module=Head(model, becomes),
        answer="" if several else "label",
        one=one,
        task=Task.GENERAL if several else Task.CLASSIFICATION,
        labels=labels,
    )


def _score(folder: Folder, model: Any, reading: Reading, texts: tuple[str, ...]) -> _Kind:
    said = folder.config.get("sentence_transformers")
    activation = str(said.get("activation_fn", "")) if isinstance(said, dict) else ""
    becomes = "first-sigmoid" if activation.endswith(".Sigmoid") else "first"

    def one(*row: str) -> list[Any]:
        return [float(scored(_run(model, reading, *row)[0][0], becomes)[0])]

    return _Kind(
        texts=texts,
        inner=(("score", ()),),
        outer=(TensorSpec(name="prediction", datatype=_F32, shape=(BATCH,), role="prediction"),),
        module=Head(model, becomes),
        answer="",
        one=one,
        task=Task.REGRESSION,
    )


def _token_classifier(folder: Folder, model: Any, reading: Reading) -> _Kind:
    labels = labels_of(folder, model)
    reading.tokenizer.model_max_length = reading.max_tokens  # what the pipeline cuts at
    pipeline = transformers.pipelines.TokenClassificationPipeline(model=model, tokenizer=reading.tokenizer, aggregation_strategy="simple")

    def one(text: str) -> list[Any]:
        groups = pipeline(text)
        found = [
            {"label": each["entity_group"], "start": int(each["start"]), "end": int(each["end"]), "text": text[each["start"] : each["end"]]}
            for each in groups
        ]
        return [json.dumps(found, ensure_ascii=False), min([1.0, *(float(each["score"]) for each in groups)])]

    return _Kind(
        texts=("text",),
        inner=(("probabilities", (_TOKENS, len(labels))),),
        outer=(TensorSpec(name="entities", datatype=_TEXT, shape=(BATCH,)), TensorSpec(name="score", datatype=_F32, shape=(BATCH,))),
        module=Head(model, "softmax"),
        answer="entities",
        one=one,
        labels=labels,
    )


def _question_answering(model: Any, reading: Reading) -> _Kind:
    def one(question: str, context: str) -> list[Any]:
        found, made = _run(model, reading, question, context, truncation="only_second")
        offsets = made.encodings[0].offsets
        places = [at for at, sequence in enumerate(made.sequence_ids(0)) if sequence == 1]
        if not places:
            return ["", 0.0, 0, 0]
        starts = torch.softmax(found.start_logits[0, places].double(), dim=0).tolist()
        ends = torch.softmax(found.end_logits[0, places].double(), dim=0).tolist()
        score, at, to = max(
            ((start * ends[to], at, to) for at, start in enumerate(starts) for to in range(at, min(at + MAX_ANSWER_TOKENS, len(ends)))),
            key=lambda each: each[0],
        )
        start, end = offsets[places[at]][0], offsets[places[to]][1]
        return [context[start:end], score, start, end]

    return _Kind(
        texts=("question", "context"),
        inner=(("start_logits", (_TOKENS,)), ("end_logits", (_TOKENS,))),
        outer=(
            TensorSpec(name="answer", datatype=_TEXT, shape=(BATCH,)),
            TensorSpec(name="score", datatype=_F32, shape=(BATCH,)),
            TensorSpec(name="start", datatype=_I64, shape=(BATCH,)),
            TensorSpec(name="end", datatype=_I64, shape=(BATCH,)),
        ),
        module=Head(model, "both"),
        answer="span",
        one=one,
    )


def labels_of(folder: Folder, model: Any) -> tuple[str, ...]:
    """The labels in the order of the model's scores. Raises InvalidFile where config.json says two orders, or some label twice."""
    count = int(model.config.num_labels)
    labels = tuple(str(model.config.id2label.get(at, "")) for at in range(count))
    if len(set(labels)) != count or "" in labels:
        raise InvalidFile(
            f"config.json: 'id2label' does not name {count} labels: {', '.join(labels)[:200]}", hint="each number needs a label of its own"
        )
    back = folder.config.get("label2id")
    if isinstance(back, dict) and folder.config.get("id2label"):
        wrong = [label for at, label in enumerate(labels) if back.get(label, at) != at]
        if wrong:
            raise InvalidFile(
                f"config.json: 'id2label' and 'label2id' disagree about '{wrong[0]}'",
                hint="one of them has the labels in another order: mend config.json",
            )
    return labels


def _is_pair(folder: Folder) -> bool:
    """Whether a classifier's labels, or who saved it, say that it reads two texts."""
    labels = folder.config.get("id2label")
    names = {str(name).lower() for name in labels.values()} if isinstance(labels, dict) else set()
    return bool(names & _PAIRS) or "sentence_transformers" in folder.config


def write_tokenizer(encoder: Encoder, folder: Path, texts: Sequence[str]) -> dict[str, Path]:
    """The step's file, by its path in the package. Raises ProofFailed naming the text that it cuts into other tokens than transformers does."""
    file = folder / Path(TOKENIZER).name
    encoder.reading.write(file)
    written, step, reading = read_tokenizer_file(file, encoder.step), encoder.step, encoder.reading
    for at, text in enumerate(texts):
        row = (text,) if len(step.texts) == 1 else (text, texts[at - 1])
        expected = reading.tokens(row, step.truncation)
        if not expected and step.truncation == "only_second":
            continue
        first, second = reading.prepared(row[0]), reading.prepared(row[1]) if len(row) > 1 else None
        found = tuple(written.encode(first, second).ids)
        if found != expected:
            raise ProofFailed(
                f"the tokenizer, written down, cuts {text[:60]!r} into {len(found)} tokens {list(found[:12])}, transformers into {len(expected)} {list(expected[:12])}",
                hint="the folder's tokenizer does more than its tokenizer.json says: save it again with this version of transformers",
            )
    return {TOKENIZER: file}
