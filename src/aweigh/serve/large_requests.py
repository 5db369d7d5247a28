"""Large JSON requests, looked over before anything is built of them: no more values than a right request to this model has.

Called by the REST dialects on their ordinary road. A value of two bytes of JSON takes up to a hundred in memory, so a body within its limit
in bytes is none in memory; what is built afterwards is bounded by what the model can be asked.
"""

from typing import Final

import msgspec
import numpy as np

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.core.frames import frame_columns
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, count_of
from aweigh.serve.json_structure import LARGE, Structure, check_counts, structure
from aweigh.serve.tensor_json import check_shape

_ENVELOPE: Final = 8192
"""Values, lists and objects that a request may have beside its data."""
_MAX_SHAPE_BYTES: Final = 4096
_MAX_WITHOUT_TENSORS: Final = 256 * 1024
_BLOCK: Final = 256 * 1024
_EMPTY: Final = msgspec.Raw(b"")


class _Input(msgspec.Struct, gc=False):
    name: str
    shape: msgspec.Raw
    datatype: str
    data: msgspec.Raw = _EMPTY


class _Request(msgspec.Struct, gc=False):
    inputs: list[_Input]


_decode = msgspec.json.Decoder(_Request).decode
_decode_shape = msgspec.json.Decoder(list[int]).decode


def check_inference(body: bytes, signature: Signature, settings: Settings) -> None:
    """Raise InvalidInput or TooLarge for a body whose data is not what its shapes say, or which holds more than this model takes."""
    if len(body) < LARGE:
        return
    found = structure(body, settings.max_json_depth)
    check_counts(
        found, values=most_elements(signature, settings) + _ENVELOPE, lists=_lists(signature, settings) + _ENVELOPE, objects=_ENVELOPE
    )
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"not an inference request: {error}", hint="compare it with the model's metadata") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # bare NaN perhaps: the ordinary road tells
    beside = len(body) - sum(len(memoryview(given.data)) for given in asked.inputs)
    if beside > _MAX_WITHOUT_TENSORS:
        raise TooLarge(f"the request holds {beside} bytes beside its data", hint="send the data in 'data'")
    data = [_check_data(given, signature, settings, f"$.inputs[{at}]") for at, given in enumerate(asked.inputs)]
    if found.commas - sum(one.commas for one in data) > _ENVELOPE:
        raise TooLarge(f"the request holds more than {_ENVELOPE} values beside its data", hint="send the data in 'data'")


def check_rows(body: bytes, signature: Signature, settings: Settings) -> None:
    """The same for rows of named columns. Raises InvalidInput, TooLarge."""
    if len(body) >= LARGE:
        rows = settings.max_rows if signature.batched else 1
        cells = rows * max(len(frame_columns(signature)), 1)
        check_counts(structure(body, settings.max_json_depth), values=cells + _ENVELOPE, lists=rows + _ENVELOPE, objects=rows + _ENVELOPE)


def check_small(body: bytes) -> None:
    """Raise TooLarge for more bytes than any request has that carries no tensors."""
    if len(body) > _MAX_WITHOUT_TENSORS:
        raise TooLarge(f"a request of {len(body)} bytes where {_MAX_WITHOUT_TENSORS} are enough", hint="tensors are sent to infer alone")


def _check_data(given: _Input, signature: Signature, settings: Settings, place: str) -> Structure:
    """Whether the data of an input is as large as its shape says, and the shape one that the model may take."""
    spec = signature.input(given.name)
    found = structure(memoryview(given.data), settings.max_json_depth)
    shape = _shape(given.shape, place)
    check_shape(shape, settings.max_elements, place)
    if not _may_be(shape, spec):
        raise InvalidInput(
            f"unexpected shape for input '{spec.name}': expected {spec.wire_shape}, got {shape}",
            input=spec.name,
            note="",
            expected_shape=spec.wire_shape,
            shape=shape,
        )
    count = count_of(shape)
    if spec.datatype is not Datatype.BYTES and _holds_texts(given.data):
        raise InvalidInput(f"{place}.data holds texts, but datatype {spec.datatype.value} takes numbers")
    if found.commas >= max(count, found.lists, 1):
        raise InvalidInput(f"{place}.data has {found.commas + 1} elements, but shape {shape} needs {count}")
    if found.lists > _lists_of(shape):
        raise InvalidInput(f"{place}.data holds {found.lists} lists, shape {shape} needs {_lists_of(shape)} at most")
    return found


def _holds_texts(data: msgspec.Raw) -> bool:
    codes = np.frombuffer(data, np.uint8) if len(memoryview(data)) else np.empty(0, np.uint8)
    return any(bool((codes[at : at + _BLOCK] == ord('"')).any()) for at in range(0, len(codes), _BLOCK))


def _shape(raw: msgspec.Raw, place: str) -> list[int]:
    if len(memoryview(raw)) > _MAX_SHAPE_BYTES:
        raise InvalidInput(f"{place}.shape is written in {len(memoryview(raw))} bytes", hint="a shape has a handful of axes")
    try:
        return _decode_shape(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not an inference request: {error} ({place}.shape)") from None


def _may_be(shape: list[int], spec: TensorSpec) -> bool:
    """Whether a tensor of this shape could be the input's."""
    return len(shape) == len(spec.shape) and all(
        axis == size for axis, size in zip(spec.shape, shape, strict=True) if isinstance(axis, int)
    )


def most_elements(signature: Signature, settings: Settings) -> int:
    """The most elements in the inputs of one request to a model."""
    return min(settings.max_elements, sum(_most(spec, signature, settings) for spec in signature.inputs))


def _most(spec: TensorSpec, signature: Signature, settings: Settings) -> int:
    fixed = spec.shape[1:] if signature.batched else spec.shape
    if not all(isinstance(axis, int) for axis in fixed):
        return settings.max_elements
    return int(np.prod([axis for axis in fixed if isinstance(axis, int)], dtype=object)) * (settings.max_rows if signature.batched else 1)


def _lists(signature: Signature, settings: Settings) -> int:
    """The most lists in the inputs of one request: each element in one of its own for every axis, at worst."""
    return sum(min(_most(spec, signature, settings), settings.max_elements) * max(len(spec.shape) - 1, 1) for spec in signature.inputs)


def _lists_of(shape: list[int]) -> int:
    """Lists in data that is nested as the shape says."""
    return 1 + sum(count_of(shape[:axes]) for axes in range(1, len(shape)))
