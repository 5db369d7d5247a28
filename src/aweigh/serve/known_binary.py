"""REST requests in binary that were seen before in all but their tensors: what the JSON in front of them says is read once.

Equal JSON says equal things of tensors of equal sizes, so only the tensors are looked at again. Called by the REST dialect, one memory for
each model. Never keeps a request with an id, nor one that asks for anything but whole tensors of numbers, in binary both ways.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype, Tensor
from aweigh.engine.model import LoadedModel
from aweigh.serve.asked import Wanted
from aweigh.serve.binary import HEADER, OCTETS, raw_output
from aweigh.serve.message import Response

_MAX_KNOWN: Final = 64
_MAX_HEADER: Final = 1024
_UNFIT: Final = frozenset({Datatype.BYTES, Datatype.BF16, Datatype.BOOL})
_SIZE_ALONE: Final = frozenset({"binary_data_size"})
_FORM_ALONE: Final = frozenset({"binary_data_output"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the numbers of an input begin in the body, and what they are. The shape was checked when the request was first seen."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begins: int
    count: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownBinary:
    """What one such JSON says."""

    size: int
    """Of the whole body."""
    inputs: tuple[_Place, ...]
    outputs: tuple[tuple[int, Datatype], ...]
    """Those that are wanted: where they stand in the signature."""
    parameters: dict[str, Any] | None
    """Those that mean something for each request anew."""
    headers: dict[tuple[tuple[int, ...], ...], tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = dataclasses.field(default_factory=dict)
    """The JSON of the answer by its outputs' shapes, and the HTTP header that goes with it."""

    def tensors(self, body: bytes | memoryview) -> dict[str, Tensor]:
        """The inputs, as views of the body."""
        return {place.name: np.frombuffer(body, place.dtype, place.count, place.begins).reshape(place.shape) for place in self.inputs}

    def answer(self, model: LoadedModel, outputs: Sequence[Tensor]) -> Response:
        """The wanted outputs in binary."""
        shapes = tuple([outputs[at].shape for at, _ in self.outputs])
        header, fields = self.headers.get(shapes) or self._header(model, outputs, shapes)
        return Response(200, b"".join((header, *[raw_output(outputs[at], datatype) for at, datatype in self.outputs])), OCTETS, fields)

    def _header(
        self, model: LoadedModel, outputs: Sequence[Tensor], shapes: tuple[tuple[int, ...], ...]
    ) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
        entries = []
        for at, datatype in self.outputs:
            size = outputs[at].size * (datatype.item_bytes or 0)
            entry: dict[str, Any] = {"name": model.signature.outputs[at].name, "datatype": datatype.value}
            entries.append({**entry, "shape": [int(axis) for axis in outputs[at].shape], "parameters": {"binary_data_size": size}})
        header = orjson.dumps({"model_name": model.name, "model_version": model.version, "outputs": entries})
        if len(self.headers) >= _MAX_KNOWN:
            self.headers.clear()
        made = self.headers[shapes] = header, ((HEADER, b"%d" % len(header)),)
        return made


class KnownBinaries:
    """Bounded; forgets everything when full."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, KnownBinary] = {}

    def find(self, body: bytes | memoryview, header_length: int) -> KnownBinary | None:
        """What a body's JSON says, if it is known and the body as long as it says."""
        known = self._known.get(bytes(body[:header_length])) if header_length <= _MAX_HEADER else None
        return known if known is not None and known.size == len(body) else None

    def learn(self, header: bytes, asked: Any, tensors: Mapping[str, Tensor], wanted: Sequence[Wanted], signature: Signature) -> None:
        """Remember what was just read from a body that began with `header`, if it is of the kind that can be."""
        if asked.id is not None or len(header) > _MAX_HEADER or any(set(given.parameters or ()) != _SIZE_ALONE for given in asked.inputs):
            return
        specs = [signature.outputs[output.at] for output in wanted]
        if any(output.classes or output.memory or not output.binary for output in wanted):
            return
        if any(spec.datatype in _UNFIT for spec in (*specs, *(signature.input(given.name) for given in asked.inputs))):
            return
        places, begins = [], len(header)
        for given in asked.inputs:
            tensor = tensors[given.name]
            places.append(_Place(name=given.name, dtype=tensor.dtype, shape=tensor.shape, begins=begins, count=tensor.size))
            begins += tensor.nbytes
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[header] = KnownBinary(
            size=begins,
            inputs=tuple(places),
            outputs=tuple([(output.at, spec.datatype) for output, spec in zip(wanted, specs, strict=True)]),
            parameters=asked.parameters if set(asked.parameters or ()) - _FORM_ALONE else None,
        )
