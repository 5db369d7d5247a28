"""Golden replay: does a session answer here as the source model did? Pure logic; the engine asks before ready, `verify` for evidence."""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from aweigh.core.agreement import compare_answers
from aweigh.core.compare import Difference
from aweigh.core.errors import AweighError, GoldenMismatch, InternalError
from aweigh.core.golden import GoldenAnswers
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors

_MAX_ITEM: Final = 40
_MAX_ITEMS: Final = 8
_MAX_TEXT: Final = 400


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay that agreed has seen."""

    cases: int
    rows: int
    max_abs: float
    max_rel: float


def replay(session: Session, signature: Signature, golden: Sequence[GoldenAnswers]) -> Replayed:
    """Run every golden case. Raises GoldenMismatch naming case, row, inputs, expected and actual; or what the session raises."""
    rows, max_abs, max_rel = 0, 0.0, 0.0
    for case in golden:
        actual = _answer(session, signature, case)
        difference = difference_of(signature, case, actual)
        if not difference.agrees:
            raise mismatch(signature, case, actual, difference)
        rows += case.rows
        max_abs = max([max_abs, *(output.max_abs for output in difference.outputs)])
        max_rel = max([max_rel, *(output.max_rel for output in difference.outputs)])
    return Replayed(cases=len(golden), rows=rows, max_abs=max_abs, max_rel=max_rel)


def _answer(session: Session, signature: Signature, case: GoldenAnswers) -> list[Tensor]:
    """The session's answers; what it raises, it raises of the case: the source did answer."""
    try:
        return session.run(case.inputs)
    except AweighError as error:
        raise error.saying(
            f"{_place(case, 0)}: {error.message}, for inputs {describe_row(signature, case.inputs, 0)}", case=case.name, row=0
        ) from error


def _place(case: GoldenAnswers, row: int) -> str:
    return f"golden case '{case.name}' ({case.why}), row {row}" if case.why else f"golden case '{case.name}', row {row}"


def difference_of(signature: Signature, case: GoldenAnswers, actual: Sequence[Tensor]) -> Difference:
    """How answers differ from the case's. Raises InternalError when a session gives another number of outputs than it should."""
    if len(actual) != len(signature.outputs):
        raise InternalError(f"a session gave {len(actual)} outputs where the signature has {len(signature.outputs)}", case=case.name)
    return compare_answers(signature, case.outputs, actual)


def mismatch(signature: Signature, case: GoldenAnswers, actual: Sequence[Tensor], difference: Difference) -> GoldenMismatch:
    """The error that names the worst row of the first output that differs."""
    at, output = next((at, output) for at, output in enumerate(difference.outputs) if output.mismatches)
    row = output.bad_rows[0] if output.bad_rows else 0
    found = output.problem or f"expected {describe_value(case.outputs[at], row)}, got {describe_value(actual[at], row)}"
    return GoldenMismatch(
        f"{_place(case, row)}: output '{output.name}': {found}, for inputs {describe_row(signature, case.inputs, row)}",
        hint="this machine or library answers differently than the one that packed the model: "
        "'aweigh verify' shows every difference; pack again here, or serve another variant",
        case=case.name,
        row=row,
        output=output.name,
    )


def describe_row(signature: Signature, inputs: Tensors, row: int) -> str:
    """One row of inputs as short text: `age=39.0, job='clerk'`, by column names where the signature has them."""
    parts: list[str] = []
    for spec in signature.inputs:
        tensor = inputs[spec.name]
        value = np.asarray(tensor[row] if tensor.ndim and row < len(tensor) else tensor)  # a text of a 1-D tensor comes bare
        columns = {column.index: column.name for column in signature.columns if column.input == spec.name}
        if columns and value.ndim == 1:
            named = [(columns.get(at, f"{spec.name}[{at}]"), item) for at, item in enumerate(value.tolist())]
            parts += [f"{name}={_item(item)}" for name, item in named[:_MAX_ITEMS]]
            parts += [f"… ({len(named)} columns)"] if len(named) > _MAX_ITEMS else []
        else:
            parts.append(f"{spec.name}={_array(value)}")
        if sum(map(len, parts)) > _MAX_TEXT:
            break
    return _short(", ".join(parts), _MAX_TEXT)


def describe_value(tensor: Tensor, row: int) -> str:
    """One row of an output as short text."""
    return _short(_array(np.asarray(tensor[row] if tensor.ndim and row < len(tensor) else tensor)), _MAX_TEXT)


def _array(value: Tensor | object) -> str:
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return _item(value.item() if isinstance(value, np.ndarray | np.generic) else value)
    items = value.ravel()[:_MAX_ITEMS].tolist()
    more = ", …" if value.size > _MAX_ITEMS else ""
    shape = f" of shape {list(value.shape)}" if value.ndim > 1 else ""
    return f"[{', '.join(map(_item, items))}{more}]{shape}"


def _item(item: object) -> str:
    return _short(repr(item), _MAX_ITEM)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
