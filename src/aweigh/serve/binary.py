"""The binary tensor extension of Open Inference V2 over REST: raw tensors behind the JSON of a request or an answer, or a body that is one tensor.

Inputs are views into the body, never copies. An answer's tensors are copied once, into the body.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import PACKED, Datatype, Tensor, from_raw, to_raw
from aweigh.serve.asked import raw_tensor
from aweigh.serve.message import Response

HEADER: Final = b"inference-header-content-length"
OCTETS: Final = b"application/octet-stream"
_MUST_SAY: Final = (
    "must specify valid 'Infer-Header-Content-Length' in request header and 'binary_data_size' when passing inputs in binary data format"
)


def header_length(declared: bytes, body: bytes | memoryview) -> int:
    """Bytes of JSON at the body's beginning. Raises InvalidInput for what is no number, or more than there is."""
    text = declared.strip()
    if not text.lstrip(b"-").isdigit() or len(text) > 18:
        raise InvalidInput(f"Unable to parse Inference-Header-Content-Length, got: {text.decode('latin-1')[:40]}")
    length = int(text)
    if not 0 <= length <= len(body):
        raise InvalidInput(f"inference header size should be in range (0, {len(body)}), got: {length}")
    return length


class Blobs:
    """The raw tensors behind a request's JSON, handed out in the order of its inputs."""

    def __init__(self, data: memoryview, model: str) -> None:
        self._data = data
        self._at = 0
        self._model = model

    def take(self, name: str, size: object) -> memoryview:
        """The next tensor's bytes. Raises InvalidInput for a size that is none, or more than is left."""
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidInput(
                "Unable to parse 'binary_data_size': attempt to access JSON non-unsigned-integer as unsigned-integer",
                hint=f"input '{name}': send the number of its bytes",
            )
        end = self._at + size
        if end > len(self._data):
            missing = end - len(self._data)
            if not self._data:
                raise InvalidInput(_MUST_SAY, hint=f"input '{name}' has no data behind the JSON")
            raise InvalidInput(f"unexpected size for input '{name}', expecting {missing} additional bytes for model '{self._model}'")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def finish(self) -> None:
        """Raise InvalidInput when something is left that belongs to no input."""
        if self._at != len(self._data):
            raise InvalidInput(
                f"unexpected additional input data for model '{self._model}'",
                hint=f"{len(self._data) - self._at} bytes belong to no input's binary_data_size",
            )


def raw_request(body: bytes | memoryview, signature: Signature, model: str) -> dict[str, Tensor]:
    """The tensor of a body without JSON: the only input's, one row. Raises InvalidInput where that does not settle the shape."""
    if len(signature.inputs) != 1:
        raise InvalidInput(
            f"Raw request must only have 1 input (found 1) to be deduced but got {len(signature.inputs)} inputs in '{model}' model configuration"
        )
    spec = signature.inputs[0]
    shape = [1 if at == 0 and signature.batched else size for at, size in enumerate(spec.wire_shape)]
    if spec.datatype is Datatype.BYTES:
        return {spec.name: _one_text(body, spec, shape)}
    variable = [at for at, size in enumerate(shape) if size < 0]
    if len(variable) > 1:
        raise InvalidInput(
            f"The shape of the raw input '{spec.name}' can not be deduced because there are more than one variable-sized dimension"
        )
    if variable:
        shape[variable[0]] = 1
        one = int(np.prod(shape, dtype=object)) * (spec.datatype.item_bytes or 1)
        shape[variable[0]] = len(body) // one if one else 0
    return {spec.name: raw_tensor(body, spec, tuple(shape), model)}


def _one_text(body: bytes | memoryview, spec: TensorSpec, shape: list[int]) -> Tensor:
    """A raw text has no length before it: it is the whole body."""
    shape = [1 if size < 0 else size for size in shape]
    if any(size != 1 for size in shape):
        raise InvalidInput(
            f"For BYTES datatype raw input '{spec.name}', the model must have input shape [1]", hint="send JSON, or binary_data_size"
        )
    return from_raw(len(body).to_bytes(4, "little") + body, spec.datatype, tuple(shape), name=spec.name)


def raw_output(output: Tensor, datatype: Datatype) -> bytes | memoryview:
    """An output's bytes; a view of it where it lies in memory as it is sent."""
    if output.dtype == datatype.dtype and datatype not in PACKED and output.flags.c_contiguous and output.size:
        return output.reshape(-1).view(np.uint8).data
    return to_raw(output, datatype)


def binary_answer(document: Mapping[str, Any], blobs: list[bytes | memoryview]) -> Response:
    """JSON with raw tensors behind it."""
    header = orjson.dumps(document)
    return Response(200, b"".join((header, *blobs)), OCTETS, headers=((HEADER, str(len(header)).encode()),))
