"""Tensors of many requests joined into one set, and the outputs cut apart again; and the carrier of whatever has no quicker form.

Requests may differ in a symbolic axis only where the signature says with what their inputs may be padded; outputs that have the axis are cut back
to the request's own size. Called by the data plane and the batch queue.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.batching.turn import Carrier
from aweigh.engine.executors import failed_unexpectedly
from aweigh.engine.queue import Caller

_LOG: Final = logging.getLogger("aweigh.engine")
Reply = Callable[[list[Tensor] | None, AweighError | None], None]
Shapes = tuple[tuple[int, ...], ...]


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
        self._ragged = {
            axis for spec in signature.inputs if padded and spec.padding is not None for axis in spec.shape[1:] if isinstance(axis, str)
        }
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
            mine == theirs or (spec.padding is not None and axis in self._ragged)
            for spec, a, b in zip(self._inputs, one, other, strict=True)
            for axis, mine, theirs in zip(spec.shape[1:], a, b, strict=True)
        )

    def join(self, parts: Sequence[Tensors]) -> Tensors:
        """The rows of all requests as one set of tensors, in order."""
        if len(parts) == 1:
            return parts[0]
        return {spec.name: np.concatenate(_padded([part[spec.name] for part in parts], spec)) for spec in self._inputs}

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


def _ragged_axes(spec: TensorSpec, ragged: set[str]) -> list[str]:
    """The names of an output's axes behind the batch that padding makes longer; empty for the others."""
    return [axis if isinstance(axis, str) and axis in ragged else "" for axis in spec.shape[1:]]


def _padded(tensors: list[Tensor], spec: TensorSpec) -> list[Tensor]:
    """All of the size of the largest."""
    largest = tuple(max(sizes) for sizes in zip(*[tensor.shape[1:] for tensor in tensors], strict=True))
    if all(tensor.shape[1:] == largest for tensor in tensors):
        return tensors
    padded = []
    for tensor in tensors:
        widths = [(0, 0), *[(0, size - mine) for size, mine in zip(largest, tensor.shape[1:], strict=True)]]
        padded.append(np.pad(tensor, widths, constant_values=spec.padding))  # type: ignore[arg-type]  # checked by the signature
    return padded


class Joined(Carrier[Caller, Work]):
    """Carries whatever the signature accepted. `run` answers one request alone and counts it."""

    def __init__(self, joiner: Joiner, run: Callable[[Tensors, int], list[Tensor]]) -> None:
        self._joiner = joiner
        self._run = run

    def feeds(self, items: list[Work]) -> Tensors:
        first = self._joiner.shapes(items[0].inputs)
        if not all(self._joiner.fits(first, self._joiner.shapes(item.inputs)) for item in items[1:]):
            raise InvalidInput("requests of different shapes do not run together")
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
