"""Which values that are no numbers a source answers, and at which columns: NaN and missing texts, infinities. Called by `edges.py`.

What it refuses is kept in the signature, so that serving refuses it too instead of inventing an answer.
"""

import warnings
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor

Asker = Callable[[Mapping[str, Tensor]], list[Tensor]]
MISSING, INFINITE = "missing", "infinite"
_VALUES: Final = {MISSING: (np.nan,), INFINITE: (np.inf, -np.inf)}
_MOST_ASKED: Final = 256
"""Calls that are made to learn what columns take which are too many to be asked one by one."""
_MOST_REFUSING: Final = 1024
"""Positions of an input that a signature lists; an input that has more refuses the values everywhere."""
Slot = tuple[str, int]
"""An input, and a position in its rows."""


def sought(
    signature: Signature, base: dict[str, Tensor], columns: int, sort: str, ask: Asker
) -> tuple[dict[Slot, bool], dict[Slot, list[dict[str, Tensor]]]]:
    """Which columns take values of a sort, and rows that show it: so many columns one by one, the others together."""
    every = every_slot(signature, text=sort == MISSING)
    takes: dict[Slot, bool] = {}
    rows: dict[Slot, list[dict[str, Tensor]]] = {}
    for at in spread_over(len(every), columns).tolist():
        made = [with_value(base, every[at][0], every[at][1], value) for value in _VALUES[sort]]
        slot = every[at][0].name, every[at][1]
        takes[slot] = all(answers_to(row, ask) for row in made)
        if takes[slot]:
            rows[slot] = made
    others = [(spec, column) for spec, column in every if (spec.name, column) not in takes]
    return takes | _together(base, others, sort, ask), rows


def _together(base: dict[str, Tensor], slots: list[tuple[TensorSpec, int]], sort: str, ask: Asker) -> dict[Slot, bool]:
    """Which of many columns take values of a sort: asked of all at once, and of halves where that is refused. What a bounded number of calls does not
    tell counts as refused."""
    takes: dict[Slot, bool] = {}
    waiting = deque([slots] if slots else [])
    asked = 0
    while waiting:
        group = waiting.popleft()
        good = asked < _MOST_ASKED and all(answers_to(_with_all(base, group, value), ask) for value in _VALUES[sort])
        asked += len(_VALUES[sort])
        if good or len(group) == 1 or asked >= _MOST_ASKED:
            takes |= {(spec.name, column): good for spec, column in group}
        else:
            waiting += [group[: len(group) // 2], group[len(group) // 2 :]]
    return takes


def _with_all(base: dict[str, Tensor], slots: list[tuple[TensorSpec, int]], value: float) -> dict[str, Tensor]:
    changed = {name: base[name].copy() for name in {spec.name for spec, _ in slots}}
    for spec, column in slots:
        changed[spec.name].reshape(-1)[column] = _element(spec, value)
    return base | changed


def _element(spec: TensorSpec, value: Any) -> Any:
    return None if value != value and spec.datatype is Datatype.BYTES else value  # a NaN among texts is a missing one


def refined_by(signature: Signature, outcome: dict[str, dict[Slot, bool]]) -> Signature:
    """The signature with what was found."""
    inputs = []
    for spec in signature.inputs:
        missing, infinite = (_refusing(spec, outcome[sort]) for sort in (MISSING, INFINITE))
        inputs.append(
            msgspec.structs.replace(
                spec,
                takes_missing=missing is not None,
                takes_infinite=infinite is not None,
                refuses_missing_at=missing or (),
                refuses_infinite_at=infinite or (),
            )
        )
    refined = msgspec.structs.replace(signature, inputs=tuple(inputs))
    slots = outcome[MISSING]
    columns = tuple(
        msgspec.structs.replace(
            column, nullable=(column.input, column.index) in slots and takes_at(refined, (column.input, column.index), MISSING)
        )
        for column in signature.columns
    )
    return msgspec.structs.replace(refined, columns=columns)


def _refusing(spec: TensorSpec, takes: dict[Slot, bool]) -> tuple[int, ...] | None:
    """The positions of an input that refuse a sort of value; None where all do, or where they cannot be told apart in a signature."""
    places = [column for column in range(width_of(spec)) if (spec.name, column) in takes]
    refusing = tuple(column for column in places if not takes[spec.name, column])
    if not refusing:
        return ()
    told_apart = all(isinstance(axis, int) for axis in spec.shape[1:]) and len(refusing) <= _MOST_REFUSING
    return refusing if told_apart and len(refusing) < len(places) else None


def takes_at(signature: Signature, slot: Slot, sort: str) -> bool:
    """Whether a signature lets values of a sort through at a position."""
    spec = signature.input(slot[0])
    takes, refused = (spec.takes_missing, spec.refuses_missing_at) if sort == MISSING else (spec.takes_infinite, spec.refuses_infinite_at)
    return takes and slot[1] not in refused


def refusals(spec: TensorSpec) -> list[str]:
    """What the source refuses in an input, in words."""
    told = []
    for sort, takes, at in (
        (MISSING, spec.takes_missing, spec.refuses_missing_at),
        (INFINITE, spec.takes_infinite, spec.refuses_infinite_at),
    ):
        if not takes:
            told.append(f"{sort} values in '{spec.name}'")
        elif at:
            told.append(f"{sort} values in {len(at)} of {width_of(spec)} positions of '{spec.name}'")
    return told


def every_slot(signature: Signature, *, text: bool) -> list[tuple[TensorSpec, int]]:
    """Each position of each float (and text) input."""
    return [
        (spec, column)
        for spec in signature.inputs
        if spec.datatype.is_float or (text and spec.datatype is Datatype.BYTES)
        for column in range(width_of(spec))
    ]


def width_of(spec: TensorSpec) -> int:
    """Positions in a row; a symbolic axis counts once."""
    count = 1
    for axis in spec.shape[1:]:
        count *= axis if isinstance(axis, int) else 1
    return count


def with_value(base: dict[str, Tensor], spec: TensorSpec, column: int, value: Any) -> dict[str, Tensor]:
    """The row with another value at a position."""
    changed = base[spec.name].copy()
    changed.reshape(-1)[column] = _element(spec, value)
    return {**base, spec.name: changed}


def quietly(ask: Asker, rows: Mapping[str, Tensor]) -> list[Tensor]:
    """The source's answer, without its warnings. Raises what it raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return ask(rows)


def answers_to(rows: Mapping[str, Tensor], ask: Asker) -> bool:
    """Whether the source answers."""
    try:
        quietly(ask, rows)
    except Exception:  # noqa: BLE001  # the source is foreign code: a refusal, whatever its type
        return False
    return True


def spread_over(count: int, limit: int) -> NDArray[np.int64]:
    """So many places at most of `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64)) if count else np.zeros(0, dtype=np.int64)
