"""What is made of the outputs of a model of texts: labels, entities, the stretch of a text that answers a question. Called by `text.py`, per call.

Each takes the rows with their tokens, where each row's first token stands in the outputs, and the outputs; and gives the package's outputs.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidFile
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor

MAX_ANSWER_TOKENS: Final = 15
"""Longer stretches are no answers to a question."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One row: its texts, and the tokenizer's encoding of them."""

    texts: tuple[str, ...]
    tokens: Any


Answerer = Callable[[Sequence[Encoded], Sequence[int], Sequence[Tensor]], list[Tensor]]
_Maker = Callable[[list[str], Sequence[Encoded], Sequence[int], Sequence[Tensor]], list[Tensor]]


def answerer(kind: str, signature: Signature, names: Sequence[str]) -> Answerer:
    """What makes the package's outputs of the model's, which are called `names`. Raises InvalidFile where they do not go together."""
    make, inner, outer = _ANSWERS[kind]
    if kind and (tuple(names) != inner or tuple(spec.name for spec in signature.outputs) != outer):
        raise InvalidFile(f"answers of the kind '{kind}' are not made of {', '.join(names)}", hint="pack the model again")
    if not kind and len(names) != len(signature.outputs):
        raise InvalidFile(f"the model gives {len(names)} outputs, the package {len(signature.outputs)}", hint="pack the model again")
    return partial(make, [str(text) for text in signature.labels])


def _as_it_is(_labels: list[str], _rows: Sequence[Encoded], _shift: Sequence[int], outputs: Sequence[Tensor]) -> list[Tensor]:
    """The model's outputs."""
    return list(outputs)


def _label(labels: list[str], _rows: Sequence[Encoded], _shift: Sequence[int], outputs: Sequence[Tensor]) -> list[Tensor]:
    """The likeliest label before the probabilities."""
    return [_texts([labels[at] for at in np.argmax(outputs[0], axis=1).tolist()]), outputs[0]]


def _entities(labels: list[str], rows: Sequence[Encoded], shift: Sequence[int], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Entities as JSON, `[{"label", "start", "end", "text"}]` in the order of the text, and the probability of the least certain one (1 for none)."""
    chances = [np.asarray(outputs[0][at, shift[at] : shift[at] + len(row.tokens)]) for at, row in enumerate(rows)]
    found = [_entities_of(row, each, labels) for row, each in zip(rows, chances, strict=True)]
    texts = _texts([json.dumps(each, ensure_ascii=False) for each, _ in found])
    return [texts, np.array([score for _, score in found], dtype=np.float32)]


def _span(_labels: list[str], rows: Sequence[Encoded], shift: Sequence[int], outputs: Sequence[Tensor]) -> list[Tensor]:
    """The stretch of the second text that answers the first: its text, its probability, where it starts and ends."""
    cut = [slice(at, at + len(row.tokens)) for at, row in zip(shift, rows, strict=True)]
    found = [_span_of(row, outputs[0][at, cut[at]], outputs[1][at, cut[at]]) for at, row in enumerate(rows)]
    texts, scores, starts, ends = zip(*found, strict=True)
    return [_texts(texts), np.array(scores, dtype=np.float32), np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)]


_ANSWERS: Final[dict[str, tuple[_Maker, tuple[str, ...], tuple[str, ...]]]] = {
    "": (_as_it_is, (), ()),
    "label": (_label, ("probabilities",), ("label", "probabilities")),
    "entities": (_entities, ("probabilities",), ("entities", "score")),
    "span": (_span, ("start_logits", "end_logits"), ("answer", "score", "start", "end")),
}
"""By kind: what makes it, of which of the model's outputs, as which of the package's."""


def _entities_of(row: Encoded, chances: Tensor, labels: list[str]) -> tuple[list[dict[str, object]], float]:
    """Neighbouring tokens of one kind are one entity, unless the later one's label begins a new one ("B-")."""
    groups: list[tuple[str, list[int]]] = []
    best = np.argmax(chances, axis=1).tolist()
    for at, special in enumerate(row.tokens.special_tokens_mask):
        if special:
            continue
        begins, kind = _kind(labels[best[at]])
        if groups and groups[-1][0] == kind and not begins:
            groups[-1][1].append(at)
        else:
            groups.append((kind, [at]))
    text, made, scores = row.texts[0], [], [1.0]
    for kind, tokens in groups:
        if kind != "O":
            start, end = row.tokens.offsets[tokens[0]][0], row.tokens.offsets[tokens[-1]][1]
            made.append({"label": kind, "start": start, "end": end, "text": text[start:end]})
            scores.append(float(np.mean(chances[tokens, [best[at] for at in tokens]].astype(np.float64))))
    return made, min(scores)


def _kind(name: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and of which kind."""
    return (name.startswith("B-"), name[2:]) if name[:2] in {"B-", "I-"} else (False, name)


def _span_of(row: Encoded, starts: Tensor, ends: Tensor) -> tuple[str, float, int, int]:
    context = [at for at, sequence in enumerate(row.tokens.sequence_ids) if sequence == 1]
    if not context:
        return "", 0.0, 0, 0
    first, last = _softmax(starts[context]), _softmax(ends[context])
    together = np.triu(np.outer(first, last)) - np.triu(np.outer(first, last), MAX_ANSWER_TOKENS)
    at, to = (int(each) for each in np.unravel_index(int(np.argmax(together)), together.shape))
    start, end = row.tokens.offsets[context[at]][0], row.tokens.offsets[context[to]][1]
    return row.texts[1][start:end], float(together[at, to]), start, end


def _softmax(scores: Tensor) -> NDArray[np.float64]:
    wide = np.asarray(scores, dtype=np.float64)
    risen: NDArray[np.float64] = np.exp(wide - wide.max())
    total = float(risen.sum())
    return risen / total


def _texts(items: Sequence[str]) -> Tensor:
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found
