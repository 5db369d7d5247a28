"""Inference requests that were seen before in all but their numbers: decoded by comparing bytes instead of parsing everything again.

What stands around the numbers says everything else, so equal surroundings mean an equal request with other numbers. A request enters only
where there is no doubt which bytes are the numbers; anything else is parsed each time. One memory for protobuf, one for JSON.
"""

import dataclasses
from typing import Any, Final

import msgspec

from aweigh.core.tensors import Datatype

_MAX_KNOWN: Final = 128
_MAX_PREFIX: Final = 1024
_DATA_KEY: Final = b'"data"'
_TAG_RAW_INPUT: Final = b"\x3a"
_UNFIT: Final = frozenset({Datatype.BYTES.value, Datatype.BF16.value, Datatype.BOOL.value})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KnownRequest:
    """What a beginning says. `shape` was checked when the request was first seen."""

    model: str
    version: str
    input: str
    datatype: str
    shape: tuple[int, ...]
    wanted: tuple[str, ...]
    begins: int
    """Where the numbers begin."""

    def raw(self, payload: bytes) -> memoryview:
        """The numbers of a request with this beginning."""
        return memoryview(payload)[self.begins :]


class KnownRequests:
    """For protobuf: a message with one raw input, in canonical order, ends in that input's bytes. Bounded; forgets everything when full. Knows nothing of models: whoever asks must check that input and datatype still fit."""

    def __init__(self) -> None:
        self._begins: dict[int, int] = {}
        """Length of a message -> where its numbers begin. Two kinds of message of one length take turns."""
        self._known: dict[bytes, KnownRequest] = {}

    def find(self, payload: bytes) -> KnownRequest | None:
        """The request with this message's beginning, or None."""
        begins = self._begins.get(len(payload))
        return None if begins is None else self._known.get(payload[:begins])

    def learn(self, payload: bytes, asked: Any) -> None:
        """Remember a request that was just parsed from `payload`, if it is of the kind that can be."""
        if len(asked.inputs) != 1 or len(asked.raw_input_contents) != 1 or asked.id or asked.parameters:
            return
        if asked.inputs[0].parameters or any(output.parameters for output in asked.outputs):
            return
        raw, tensor = asked.raw_input_contents[0], asked.inputs[0]
        begins = len(payload) - len(raw)
        header = _TAG_RAW_INPUT + varint(len(raw))
        if not 0 < begins <= _MAX_PREFIX or tensor.datatype in _UNFIT or asked.SerializeToString(deterministic=True) != payload:
            return
        if payload[begins - len(header) : begins] != header or not raw:
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
            self._begins.clear()
        self._begins[len(payload)] = begins
        self._known[payload[:begins]] = KnownRequest(
            model=asked.model_name,
            version=asked.model_version,
            input=tensor.name,
            datatype=tensor.datatype,
            shape=tuple(tensor.shape),
            wanted=tuple(output.name for output in asked.outputs),
            begins=begins,
        )


_decode_numbers = msgspec.json.Decoder(list[float]).decode


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KnownBody:
    """A JSON request of one flat list of floats: what its surroundings say."""

    rows: int
    shape: list[int]
    count: int
    suffix: bytes
    suffix_length: int


class KnownBodies:
    """For JSON, and for one model: what stands before the numbers, and after them. Bounded; forgets everything when full."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, KnownBody] = {}

    def find(self, body: bytes) -> tuple[KnownBody, list[float]] | None:
        """The request with these surroundings and its numbers, or None. Raises msgspec.DecodeError where the numbers are none."""
        begins = body.find(b"[", body.find(_DATA_KEY, 0, _MAX_PREFIX))
        known = self._known.get(body[:begins])
        if known is None or not body.endswith(known.suffix):
            return None
        numbers = _decode_numbers(body[begins : -known.suffix_length])
        return (known, numbers) if len(numbers) == known.count else None

    def learn(self, body: bytes, shape: list[int], data: list[float]) -> None:
        """Remember a request that was just parsed from `body`; it must ask for nothing but this one list."""
        key = body.find(_DATA_KEY)
        begins = body.find(b"[", key)
        ends = body.find(b"]", begins) + 1
        if body.count(_DATA_KEY) != 1 or not 0 < begins < ends < len(body) or begins > _MAX_PREFIX or len(body) - ends > _MAX_PREFIX:
            return
        if b"\\" in body or body[key + len(_DATA_KEY) : begins].strip() != b":":
            return  # an escaped key could be "data" too, and "data" could be a name
        try:
            if _decode_numbers(body[begins:ends]) != data:
                return
        except msgspec.DecodeError:
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        suffix = body[ends:]
        self._known[body[:begins]] = KnownBody(rows=shape[0], shape=shape, count=len(data), suffix=suffix, suffix_length=len(suffix))


def varint(value: int) -> bytes:
    """A protobuf varint."""
    if value < 128:
        return bytes((value,))
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
