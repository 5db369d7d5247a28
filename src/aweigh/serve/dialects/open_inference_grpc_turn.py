"""Many gRPC requests of one turn as one call: the usual ones, one raw input, which differ in nothing but its bytes.

Their bytes become one array, and the raw outputs are cut apart as bytes. Whatever is wrong with any of them is said to it alone, by the dialect.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from typing import Final

import numpy as np

from aweigh.core.errors import InvalidInput
from aweigh.core.tensors import PACKED, Tensor, Tensors
from aweigh.engine.batching.joined import cut_rows
from aweigh.engine.batching.turn import Turn
from aweigh.engine.model import LoadedModel
from aweigh.serve.carrier import RequestCarrier
from aweigh.serve.known_requests import KnownRequest, varint
from aweigh.serve.message import AnyResponse, GrpcResponse, Request
from aweigh.serve.outcome import answer_with

_MAX_BYTES: Final = 64 * 1024
"""Larger requests are not worth a copy: they are joined without one where they are alone."""
_MAX_KNOWN: Final = 128
_TAG_RAW_OUTPUT: Final = b"\x32"
Item = tuple[int, bytes]
"""Rows of a request, and their bytes."""
Encode = Callable[[list[Tensor]], GrpcResponse]
Prefix = Callable[[list[Tensor]], bytes]


class GrpcTurn:
    """The usual requests of one model in this turn."""

    __slots__ = ("_acceptance", "_most_rows", "_rows", "_turn")

    def __init__(self, model: LoadedModel, alone: Callable[[Request], AnyResponse], encode: Encode, prefix: Prefix, max_rows: int) -> None:
        self._acceptance = model.acceptance
        self._most_rows = min(model.inline_rows, max_rows)
        self._turn = Turn(model, _GrpcCarrier(model, alone, encode, prefix))
        self._rows: dict[KnownRequest, int] = {}
        """Rows of the requests that are known and fit the model; 0 for those that take the ordinary way."""

    def take(self, request: Request, known: KnownRequest) -> bool:
        """Whether the request is a usual one: it is then answered at the end of the turn."""
        rows = self._rows.get(known)
        if rows is None:
            rows = self._judge(known, len(request.body))
        if not rows:
            return False
        self._turn.add(request, (rows, request.body[known.begins :]), rows)
        return True

    def _judge(self, known: KnownRequest, size_bytes: int) -> int:
        acceptance = self._acceptance
        fits = acceptance.simple and acceptance.name == known.input and acceptance.datatype == known.datatype
        usual = fits and known.shape[1:] == acceptance.tail and not known.wanted and size_bytes <= _MAX_BYTES
        usual = usual and known.shape[0] <= self._most_rows
        if len(self._rows) >= _MAX_KNOWN:
            self._rows.clear()
        rows = self._rows[known] = known.shape[0] if usual else 0
        return rows


class _GrpcCarrier(RequestCarrier[Item]):
    __slots__ = ("_acceptance", "_as_bytes", "_encode", "_prefix", "_row_shape")

    def __init__(self, model: LoadedModel, alone: Callable[[Request], AnyResponse], encode: Encode, prefix: Prefix) -> None:
        super().__init__(alone)
        self._acceptance = model.acceptance
        self._row_shape = [size for size in model.acceptance.tail if isinstance(size, int)]
        self._encode = encode
        self._prefix = prefix
        self._as_bytes = [None if spec.datatype in PACKED else spec.datatype.dtype for spec in model.signature.outputs]
        """The datatypes of outputs whose bytes can be cut apart."""

    def feeds(self, items: list[Item]) -> Tensors:
        acceptance = self._acceptance
        rows = b"".join([raw for _, raw in items])
        tensor = np.frombuffer(rows, acceptance.dtype).reshape(-1, *self._row_shape)
        if not acceptance.takes_rows(tensor):
            raise InvalidInput("these requests hold a number that the model does not take")
        return {acceptance.name: tensor}

    def reply(self, callers: list[Request], items: list[Item], outputs: list[Tensor]) -> None:
        total = len(outputs[0])
        if [output.dtype for output in outputs] != self._as_bytes or total != len(callers):
            self._reply_tensors(callers, items, outputs)
            return
        parts: list[Iterable[bytes]] = [repeat(self._prefix([output[:1] for output in outputs]))]
        for output in outputs:
            parts += _pieces(output.tobytes(), total)
        for caller, message in zip(callers, map(b"".join, zip(*parts, strict=False)), strict=True):
            caller.reply(caller, GrpcResponse(message))

    def _reply_tensors(self, callers: list[Request], items: list[Item], outputs: list[Tensor]) -> None:
        for caller, mine in zip(callers, cut_rows(outputs, [rows for rows, _ in items]), strict=True):
            answer_with(caller, partial(self._encode, mine))


def _pieces(raw: bytes, rows: int) -> tuple[Iterable[bytes], Iterable[bytes]]:
    """Of one output, the beginning of the protobuf field `raw_output_contents`, without end, and the rows' bytes."""
    size = len(raw) // rows
    return repeat(_TAG_RAW_OUTPUT + varint(size)), [raw[at : at + size] for at in range(0, len(raw), size)] if size else [b""] * rows
