"""Makes the golden set: sample rows, edge rows and generated rows, each with the source model's own answer. Called by the frameworks.

`Asker` is the source: it answers request tensors or raises. A row that it refuses is left out, and where it refuses a whole sort of value (NaN,
infinities, missing text) the signature keeps that (`refused.py`).
"""

import dataclasses
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.golden import GoldenAnswers
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.refused import (
    INFINITE,
    MISSING,
    Asker,
    answers_to,
    every_slot,
    quietly,
    refined_by,
    refusals,
    sought,
    spread_over,
    takes_at,
    width_of,
    with_value,
)  # fmt: skip

MODEL_FAILS: Final = "the model itself fails on the sample: "
MAX_SAMPLE_ROWS, MIN_SAMPLE_ROWS = 256, 8
MAX_EDGE_COLUMNS, MIN_EDGE_COLUMNS = 64, 2
CASE_BYTES: Final = 8 * 1024 * 1024
"""About how large one case of the golden set may be: a package of a small model for large pictures stays small too."""
_EDGES_A_COLUMN: Final = 6
GENERATED_ROWS: Final = 4000
MIN_GENERATED_ROWS: Final = 64
GENERATED_BUDGET_S: Final = 5.0
"""About how long the source may take to answer the generated rows."""
MAX_GENERATED_ELEMENTS: Final = 4_000_000
_SEED: Final = 20_240_229
_ODD_TEXTS: Final = (
    "",
    " ",
    "unseen-category",
    "İstanbul",
    "ılık IĞDIR",
    "naïve Σίσυφος ΣΑΣ ß",
    "🚢⚓",
    "a\x00b",
    "nan",
    "None",
    "x" * 10_000,
)
_ODD_BATCH: Final = 13
"""Rows of a batch that no processor's registers are filled by evenly."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet:
    """What `make_golden` found: the signature with the source's refusals, the cases to keep, and a case that is only proven against."""

    signature: Signature
    stored: tuple[GoldenAnswers, ...]
    generated: tuple[GoldenAnswers, ...]
    refused: tuple[str, ...]
    """Sorts of edge input that the source refuses, in words."""


def make_golden(signature: Signature, sample: Mapping[str, Tensor], ask: Asker, extra: Mapping[str, Tensor] | None = None) -> GoldenSet:
    """The golden set of a batched model. `extra` are further edge rows (tree thresholds). Raises what the source raises on the sample itself."""
    row_bytes = sum(tensor[:1].nbytes for tensor in sample.values())
    rows = _take(sample, spread_over(_rows_of(sample), _that_fit(MAX_SAMPLE_ROWS, MIN_SAMPLE_ROWS, row_bytes)))
    columns = _that_fit(MAX_EDGE_COLUMNS, MIN_EDGE_COLUMNS, row_bytes * _EDGES_A_COLUMN)
    began = perf_counter()
    answers = first_answer(rows, ask)
    row_s = (perf_counter() - began) / max(1, _rows_of(rows))
    cases = [GoldenAnswers(name="sample", why="rows of the sample", inputs=rows, outputs=answers)]
    base = _take(rows, np.array([_base_row(rows)]))
    found = {sort: sought(signature, base, columns, sort, ask) for sort in (MISSING, INFINITE)}
    refined = refined_by(signature, {sort: takes for sort, (takes, _) in found.items()})
    edges: list[tuple[str, str, list[dict[str, Tensor]]]] = [
        ("extremes", "zeros, subnormal and huge numbers", _extremes(signature, base, columns))
    ]
    edges.append(("texts", "unseen categories, empty, long and odd texts", _texts(signature, base, columns)))
    for sort, (_, rows_of) in found.items():
        kept = [row for slot, made in rows_of.items() if takes_at(refined, slot, sort) for row in made]
        edges.append((sort, f"{sort} values, one column at a time", kept))
    for name, why, made in edges:
        cases += _case(name, why, made, ask)
    if extra is not None:
        cases += _case("thresholds", "rows at the thresholds of trees and one unit in the last place beside them", [dict(extra)], ask)
    cases += _batches(rows, ask)
    refused = tuple(words for spec in refined.inputs for words in refusals(spec))
    fresh = generate(refined, sample, extra, min(GENERATED_ROWS, int(GENERATED_BUDGET_S / row_s)))
    generated = _case("generated", "rows made from the sample: columns shuffled, numbers jittered", [fresh], ask)
    return GoldenSet(signature=refined, stored=tuple(cases), generated=tuple(generated), refused=refused)


def case_of(name: str, why: str, rows: Mapping[str, Tensor], ask: Asker) -> list[GoldenAnswers]:
    """One case of those rows that the source answers, or none."""
    return _case(name, why, [dict(rows)], ask)


def make_static_golden(signature: Signature, requests: list[dict[str, Tensor]], ask: Asker) -> GoldenSet:
    """The golden set of a model without a batch axis: each request is a case of its own, and zeros beside them."""
    zeros = {spec.name: np.zeros_like(requests[0][spec.name]) for spec in signature.inputs if spec.datatype is not Datatype.BYTES}
    cases = [
        GoldenAnswers(name=f"sample-{at}", why="a request of the sample", inputs=rows, outputs=first_answer(rows, ask))
        for at, rows in enumerate(requests)
    ]
    edge = {**requests[0], **zeros}
    if zeros and answers_to(edge, ask):
        cases.append(GoldenAnswers(name="zeros", why="a request of zeros", inputs=edge, outputs=quietly(ask, edge)))
    return GoldenSet(signature=signature, stored=tuple(cases), generated=(), refused=())


def without_missing(golden: GoldenSet) -> GoldenSet | None:
    """The golden set without the rows that hold a NaN, which the signature then refuses; None where there are none. For forms that answer such rows otherwise."""
    signature = golden.signature
    floats = [spec.name for spec in signature.inputs if spec.datatype.is_float and spec.takes_missing]
    if not floats or not signature.batched:
        return None
    inputs = tuple(
        msgspec.structs.replace(spec, takes_missing=False, refuses_missing_at=()) if spec.name in floats else spec
        for spec in signature.inputs
    )
    columns = tuple(
        msgspec.structs.replace(column, nullable=column.nullable and column.input not in floats) for column in signature.columns
    )
    return GoldenSet(
        signature=msgspec.structs.replace(signature, inputs=inputs, columns=columns),
        stored=_without(golden.stored, floats),
        generated=_without(golden.generated, floats),
        refused=(*golden.refused, *(f"missing values in '{name}'" for name in floats)),
    )


def _without(cases: tuple[GoldenAnswers, ...], floats: list[str]) -> tuple[GoldenAnswers, ...]:
    kept = []
    for case in cases:
        count = _rows_of(case.inputs)
        whole = np.ones(count, dtype=np.bool_)
        for name in floats:
            whole &= ~np.isnan(case.inputs[name].reshape(count, -1).astype(np.float64)).any(axis=1)
        if whole.all():
            kept.append(case)
        elif whole.any() and all(len(output) == count for output in case.outputs):
            rows = np.flatnonzero(whole)
            kept.append(dataclasses.replace(case, inputs=_take(case.inputs, rows), outputs=[output[rows] for output in case.outputs]))
    return tuple(kept)


def first_answer(rows: Mapping[str, Tensor], ask: Asker) -> list[Tensor]:
    """What the source answers to rows that it must take. Raises InvalidInput for what it raises that is no error of aweigh's."""
    try:
        return quietly(ask, rows)
    except AweighError:
        raise
    except Exception as error:  # the source is foreign code: whatever it raises is its answer
        raise InvalidInput(
            f"{MODEL_FAILS}{type(error).__name__}: {str(error)[:300]}",
            hint="give a sample as the model's own predict takes it",
        ) from error


def _case(name: str, why: str, made: list[dict[str, Tensor]], ask: Asker) -> list[GoldenAnswers]:
    """One case of the rows that the source answers, or none. Halves what it refuses until the refused rows are found."""
    if not made:
        return []
    rows = {key: np.concatenate([part[key] for part in made]) for key in made[0]}
    good: list[int] = []
    waiting = [np.arange(_rows_of(rows))]
    tries = 0
    while waiting and tries < 200:
        chosen = waiting.pop()
        tries += 1
        if len(chosen) and answers_to(_take(rows, chosen), ask):
            good += chosen.tolist()
        elif len(chosen) > 1:
            waiting += [chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]]
    if not good:
        return []
    inputs = _take(rows, np.array(sorted(good)))
    return [GoldenAnswers(name=name, why=why, inputs=inputs, outputs=quietly(ask, inputs))]


def _batches(rows: dict[str, Tensor], ask: Asker) -> list[GoldenAnswers]:
    count = min(_rows_of(rows), 64)
    order = np.random.default_rng(_SEED).permutation(count)
    chosen = (
        ("single", "a batch of one", np.array([count - 1])),
        ("thirteen", "a batch of an odd size", np.resize(order, _ODD_BATCH)),
        ("permuted", "a batch in another order", order),
    )
    found = []
    for name, why, places in chosen:
        inputs = _take(rows, places)
        found.append(GoldenAnswers(name=name, why=why, inputs=inputs, outputs=quietly(ask, inputs)))
    return found


def _slots(signature: Signature, columns: int, *, text: bool) -> list[tuple[TensorSpec, int]]:
    """Each column of each float (and text) input, at most so many of them, spread."""
    found = every_slot(signature, text=text)
    return [found[at] for at in spread_over(len(found), columns).tolist()]


def _extremes(signature: Signature, base: dict[str, Tensor], columns: int) -> list[dict[str, Tensor]]:
    made = []
    for spec, column in _slots(signature, columns, text=False):
        limits: Any = np.finfo(base[spec.name].dtype)
        scale = 1e6 * max(1.0, abs(float(np.nan_to_num(base[spec.name].reshape(-1)[column], posinf=0, neginf=0))))
        top = float(limits.max) / 2
        values = (0.0, -0.0, float(limits.smallest_subnormal), 1e-40, min(scale, top), -min(scale, top))
        made += [with_value(base, spec, column, value) for value in values]
    for spec in signature.inputs:
        if spec.datatype.is_integer:
            lowest = 0 if spec.datatype.value.startswith("U") else -1
            made += [
                with_value(base, spec, column, value) for column in range(min(width_of(spec), 8, columns)) for value in (0, 1, lowest, 100)
            ]
    return made


def _texts(signature: Signature, base: dict[str, Tensor], columns: int) -> list[dict[str, Tensor]]:
    slots = [(spec, column) for spec, column in _slots(signature, columns, text=True) if spec.datatype is Datatype.BYTES]
    return [with_value(base, spec, column, text) for spec, column in slots for text in _ODD_TEXTS]


def generate(signature: Signature, sample: Mapping[str, Tensor], extra: Mapping[str, Tensor] | None, rows: int) -> dict[str, Tensor]:
    """Rows like the sample's: every column drawn on its own, half the floats jittered, a few missing where the source takes that.

    No fewer than MIN_GENERATED_ROWS, and beyond those no more than MAX_GENERATED_ELEMENTS allow.
    """
    random = np.random.default_rng(_SEED)
    width = sum(sample[spec.name][:1].size for spec in signature.inputs)
    rows = max(MIN_GENERATED_ROWS, min(rows, MAX_GENERATED_ELEMENTS // max(1, width)))
    made: dict[str, Tensor] = {}
    for spec in signature.inputs:
        pool = sample[spec.name] if extra is None else np.concatenate([sample[spec.name], extra[spec.name]])
        flat = pool.reshape(len(pool), -1)
        picked = np.take_along_axis(flat, random.integers(0, len(flat), size=(rows, flat.shape[1])), axis=0)
        made[spec.name] = _varied(spec, picked, flat, random).reshape(rows, *pool.shape[1:])
    return made


def _varied(spec: TensorSpec, picked: Tensor, pool: Tensor, random: np.random.Generator) -> Tensor:
    if spec.datatype is Datatype.BYTES:
        return _mixed_texts(spec, picked, random)
    if not spec.datatype.is_float:
        return picked
    with np.errstate(all="ignore"):
        spread = np.nan_to_num(np.nanstd(np.where(np.isfinite(pool), pool, np.nan), axis=0))
    noise = random.normal(size=picked.shape) * spread * 0.1 * (random.random(picked.shape) < 0.5)
    varied: Tensor = np.asarray(picked + noise).astype(picked.dtype)
    if spec.takes_missing:
        varied[_missing_places(spec, varied, random)] = np.nan
    return varied


def _mixed_texts(spec: TensorSpec, picked: Tensor, random: np.random.Generator) -> Tensor:
    """Categories stay whole; of longer texts, halves of two are joined."""
    flat: NDArray[Any] = picked.astype(object)
    for at in np.flatnonzero(random.random(flat.size) < 0.4).tolist():
        text, other = flat.flat[at], flat.flat[int(random.integers(flat.size))]
        if isinstance(text, str) and isinstance(other, str) and (" " in text or random.random() < 0.03):
            words = (text.split()[: len(text.split()) // 2 + 1]) + other.split()[len(other.split()) // 2 :]
            flat.flat[at] = " ".join(words)
    if spec.takes_missing:
        flat[_missing_places(spec, flat, random)] = None
    return flat


def _missing_places(spec: TensorSpec, rows: Tensor, random: np.random.Generator) -> NDArray[np.bool_]:
    """Where rows [n, width] are to lack a value: here and there, never where the source refuses that."""
    chosen: NDArray[np.bool_] = random.random(rows.shape) < 0.02
    chosen[:, list(spec.refuses_missing_at)] = False
    return chosen


def _base_row(rows: Mapping[str, Tensor]) -> int:
    """A row without missing values, so that an edge shows one thing at a time."""
    whole = np.ones(_rows_of(rows), dtype=np.bool_)
    for tensor in rows.values():
        flat: NDArray[Any] = tensor.reshape(len(tensor), -1)
        absent = np.equal(flat, np.array(None)).astype(np.bool_) if flat.dtype == object else flat != flat
        whole &= ~absent.any(axis=1)
    found = np.flatnonzero(whole)
    return int(found[0]) if len(found) else 0


def _rows_of(tensors: Mapping[str, Tensor]) -> int:
    return len(next(iter(tensors.values())))


def _that_fit(most: int, fewest: int, size_bytes: int) -> int:
    """As many things of a size as a case may hold."""
    return max(fewest, min(most, CASE_BYTES // max(1, size_bytes)))


def _take(tensors: Mapping[str, Tensor], rows: NDArray[Any]) -> dict[str, Tensor]:
    return {name: tensor[rows] for name, tensor in tensors.items()}
