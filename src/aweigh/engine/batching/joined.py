"""Tensors of many requests joined into one set, and the outputs cut apart again; and the carrier of whatever has no quicker form.

Requests may differ in a symbolic axis only where the signature says with what their inputs may be padded; outputs that have the axis are cut back
to the request's own size. Called by the data plane and the batch queue.
"""

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from aweigh.core.errors import AweighError
from aweigh.core.padding import ragged_axes
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.batching.turn import Carrier, Turn
from aweigh.engine.executors import failed_unexpectedly
from aweigh.engine.queue import Caller

if TYPE_CHECKING:
    from aweigh.engine.model import LoadedModel

_LOG: Final = logging.getLogger("aweigh.engine")
Reply = Callable[[list[Tensor] | None, AweighError | None], None]
Observe = Callable[[Tensors, list[Tensor], float], None]
"""Is told of a call: its inputs, its outputs, its seconds, or 0 where these say nothing of that call by itself."""
Shapes = tuple[tuple[int, ...], ...]
_STRETCH: Final = 2
_SLACK: Final = 16
"""A ragged axis is filled up to so many times its size, and so much beyond."""
_MOST_TRIED: Final = 16
"""Turns that a request of a new size is held against: whoever sends every size at once must not make that dear."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Accepted inputs of one request, and who is told the outputs."""

    inputs: Tensors
    rows: int
    done: Reply


class Joiner:
    """Joins and cuts requests of one model. `padded` says whether its evidence lets it pad."""

    def __init__(self, signature: Signature, *, padded: bool = False) -> None:
        self._inputs = signature.inputs
        self.fixed = all(isinstance(axis, int) for spec in signature.inputs for axis in spec.shape[1:])
        """Whether all requests have one shape behind the batch axis."""
        self._ragged = ragged_axes(signature) if padded else frozenset()
        self.pads = bool(self._ragged)
        """Whether requests of different sizes can be joined."""
        self._cuts = [_ragged_axes(spec, self._ragged) for spec in signature.outputs]

    def shapes(self, inputs: Tensors) -> Shapes:
        """Each input's shape behind its batch axis, in the signature's order."""
        return tuple([inputs[spec.name].shape[1:] for spec in self._inputs])

    def fits(self, one: Shapes, other: Shapes) -> bool:
        """Whether requests of these shapes can run together."""
        if one == other:
            return True
        if not self._ragged:
            return False
        return all(
            mine == theirs or (axis in self._ragged and _near(mine, theirs))
            for spec, a, b in zip(self._inputs, one, other, strict=True)
            for axis, mine, theirs in zip(spec.shape[1:], a, b, strict=True)
        )

    def join(self, parts: Sequence[Tensors]) -> Tensors:
        """The rows of all requests as one set of tensors, in order."""
        if len(parts) == 1:
            return parts[0]
        return {spec.name: _joined([part[spec.name] for part in parts], spec) for spec in self._inputs}

    def cut(self, outputs: list[Tensor], works: Iterable[Work]) -> Iterator[list[Tensor]]:
        """The outputs of each request, without what padding added."""
        kept = list(works)
        for work, mine in zip(kept, cut_rows(outputs, [work.rows for work in kept]), strict=True):
            yield self._unpadded(mine, work.inputs) if self._ragged else mine

    def _unpadded(self, outputs: list[Tensor], inputs: Tensors) -> list[Tensor]:
        sizes = {
            axis: size
            for spec in self._inputs
            for axis, size in zip(spec.shape[1:], inputs[spec.name].shape[1:], strict=True)
            if axis in self._ragged
        }
        return [
            output[(slice(None), *[slice(sizes.get(axis)) if axis else slice(None) for axis in axes])] if any(axes) else output
            for output, axes in zip(outputs, self._cuts, strict=True)
        ]


def cut_rows(outputs: list[Tensor], rows: Iterable[int]) -> Iterator[list[Tensor]]:
    """The outputs of each request, of so many rows each."""
    begin = 0
    for count in rows:
        yield [output[begin : begin + count] for output in outputs]
        begin += count


def _ragged_axes(spec: TensorSpec, ragged: frozenset[str]) -> list[str]:
    """The names of an output's axes behind the batch that padding makes longer; empty for the others."""
    return [axis if isinstance(axis, str) and axis in ragged else "" for axis in spec.shape[1:]]


def _near(one: int, other: int) -> bool:
    """Whether filling up the shorter costs less than a call of its own, as a rule; and never memory out of proportion. Nothing is not filled up."""
    shorter, longer = sorted((one, other))
    return shorter > 0 and longer <= _STRETCH * shorter + _SLACK


def _joined(tensors: list[Tensor], spec: TensorSpec) -> Tensor:
    """The rows of all, filled up to the size of the largest."""
    largest = tuple(max(sizes) for sizes in zip(*[tensor.shape[1:] for tensor in tensors], strict=True))
    if all(tensor.shape[1:] == largest for tensor in tensors):
        return np.concatenate(tensors)
    rows = sum(len(tensor) for tensor in tensors)
    whole: Tensor = np.full((rows, *largest), spec.padding, dtype=tensors[0].dtype)
    begin = 0
    for tensor in tensors:
        end = begin + len(tensor)
        whole[(slice(begin, end), *map(slice, tensor.shape[1:]))] = tensor
        begin = end
    return whole


class Joined(Carrier[Caller, Work]):
    """Carries whatever the signature accepted and can be joined. `run` answers one request alone and counts it."""

    def __init__(self, joiner: Joiner, run: Callable[[Tensors, int], list[Tensor]]) -> None:
        self._joiner = joiner
        self._run = run

    def feeds(self, items: list[Work]) -> Tensors:
        return self._joiner.join([item.inputs for item in items])

    def reply(self, callers: list[Caller], items: list[Work], outputs: list[Tensor]) -> None:
        for item, mine in zip(items, self._joiner.cut(outputs, items), strict=True):
            item.done(mine, None)

    def reply_alone(self, caller: Caller, item: Work) -> None:
        try:
            outputs = self._run(item.inputs, item.rows)
        except AweighError as error:
            item.done(None, error)
        except Exception:  # noqa: BLE001  # whatever a session raises belongs to its request
            _LOG.exception("a session failed", extra={"request_id": caller.id.decode()})
            item.done(None, failed_unexpectedly(caller.id))
        else:
            item.done(outputs, None)

    def fail(self, caller: Caller, item: Work, error: AweighError) -> None:
        item.done(None, error)


class Turns:
    """The turns of one model's requests: what can be joined shares one, what cannot does not keep the others from it."""

    __slots__ = ("_alike", "_carrier", "_joiner", "_model", "_turns")

    def __init__(self, model: "LoadedModel", run: Callable[[Tensors, int], list[Tensor]]) -> None:
        self._model = model
        self._joiner = model.joiner
        self._carrier = Joined(model.joiner, run)
        self._alike: Turn[Caller, Work] = Turn(model, self._carrier)
        """For models whose requests have one shape."""
        self._turns: dict[Shapes, Turn[Caller, Work]] = {}
        """For others: those that wait, by the shapes of their first request."""

    def add(self, caller: Caller, work: Work) -> None:
        """Let a request wait for the end of the turn; it is told its outputs then."""
        turn = self._alike if self._joiner.fixed else self._of(self._joiner.shapes(work.inputs))
        turn.add(caller, work, work.rows)

    def _of(self, shapes: Shapes) -> Turn[Caller, Work]:
        turns = self._turns
        if not turns:
            asyncio.get_running_loop().call_soon(turns.clear)
        turn = turns.get(shapes)
        if turn is None and self._joiner.pads:
            turn = next((turn for first, turn in itertools.islice(turns.items(), _MOST_TRIED) if self._joiner.fits(first, shapes)), None)
        if turn is None:
            turn = turns[shapes] = Turn(self._model, self._carrier)
        return turn
