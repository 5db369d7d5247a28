"""Many REST requests of one turn as one call: the usual ones, one input of floats, which differ in nothing but their numbers.

Their numbers are parsed together, and their outputs encoded together. Whatever is wrong with any of them is said to it alone, by the dialect.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import orjson

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.batching.turn import Turn
from aweigh.engine.model import LoadedModel
from aweigh.serve.carrier import RequestCarrier
from aweigh.serve.known_requests import KnownBodies, KnownBody, decode_numbers
from aweigh.serve.message import AnyResponse, Request, Response
from aweigh.serve.tensor_json import rows_encoder

_MAX_FORMS: Final = 64
Item = tuple[KnownBody, bytes]
"""What stands around the numbers of a request, and their text."""


class RestTurn:
    """The usual requests of one model in this turn."""

    __slots__ = ("_bodies", "_most_rows", "_turn")

    def __init__(self, model: LoadedModel, bodies: KnownBodies, alone: Callable[[Request], AnyResponse], max_rows: int) -> None:
        self._bodies = bodies
        self._most_rows = min(model.inline_rows, max_rows)
        self._turn = Turn(model, _RestCarrier(model, alone))

    def take(self, request: Request) -> bool:
        """Whether the request is a usual one, and not too large to run on the event loop: it is then answered at the end of the turn."""
        item = self._bodies.cut(request.body)
        if item is None:
            return False
        rows = item[0].rows
        if rows > self._most_rows:
            return False
        self._turn.add(request, item, rows)
        return True


class _RestCarrier(RequestCarrier[Item]):
    __slots__ = ("_acceptance", "_encoders", "_forms", "_model", "_shape")

    def __init__(self, model: LoadedModel, alone: Callable[[Request], AnyResponse]) -> None:
        super().__init__(alone)
        self._model = model
        self._acceptance = model.acceptance
        self._shape = (-1, *[size for size in model.acceptance.tail if isinstance(size, int)])
        self._encoders = [rows_encoder(spec) for spec in model.signature.outputs]
        self._forms: dict[tuple[tuple[int, ...], ...], bytes] = {}

    def feeds(self, items: list[Item]) -> Tensors:
        try:
            numbers = decode_numbers(b",".join([text for _, text in items]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidInput("these requests hold something else than numbers") from None
        acceptance = self._acceptance
        if len(numbers) != sum([known.count for known, _ in items]) or not acceptance.takes(numbers):
            raise InvalidInput("these requests hold a number that the model does not take")
        return {acceptance.name: np.array(numbers, acceptance.dtype).reshape(self._shape)}

    def reply(self, callers: list[Request], items: list[Item], outputs: list[Tensor]) -> None:
        columns = [encode(output) for encode, output in zip(self._encoders, outputs, strict=True)]
        shapes = tuple([output.shape for output in outputs])
        if len(columns[0]) == len(callers):
            form = self._form(shapes, 1)
            for caller, *values in zip(callers, *columns, strict=True):
                caller.reply(caller, Response(200, form % (*values,)))
            return
        begin = 0
        for caller, (known, _) in zip(callers, items, strict=True):
            end = begin + known.rows
            form = self._form(shapes, known.rows)
            caller.reply(caller, Response(200, form % tuple([b",".join(column[begin:end]) for column in columns])))
            begin = end

    def _form(self, shapes: tuple[tuple[int, ...], ...], rows: int) -> bytes:
        key = ((rows,), *[shape[1:] for shape in shapes])
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _MAX_FORMS:
                self._forms.clear()
            form = self._forms[key] = _form(self._model, [[rows, *shape[1:]] for shape in shapes])
        return form


def _form(model: LoadedModel, shapes: list[list[int]]) -> bytes:
    """An answer with a place for the values of each output."""
    start = orjson.dumps({"model_name": model.name, "model_version": model.version})[:-1] + b',"outputs":['
    entries = [_entry(model.signature, at, shape) for at, shape in enumerate(shapes)]
    return start.replace(b"%", b"%%") + b",".join(entries) + b"]}"


def _entry(signature: Signature, at: int, shape: list[int]) -> bytes:
    spec = signature.outputs[at]
    head = orjson.dumps({"name": spec.name, "datatype": spec.datatype.value, "shape": shape})[:-1] + b',"data":['
    return head.replace(b"%", b"%%") + b"%b]}"
