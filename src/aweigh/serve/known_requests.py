"""Inference requests that were seen before in all but their numbers: decoded by comparing bytes instead of parsing everything again.

What stands around the numbers says everything else, so equal surroundings mean an equal request with other numbers. A request enters only
where there is no doubt which bytes are the numbers; anything else is parsed each time. One memory for protobuf, one for JSON.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from aweigh.core.tensors import Datatype

_MAX_KNOWN: Final = 128
_MAX_PREFIX: Final = 1024
_DATA_KEY: Final = b'"data"'
_GRPC_PREFIX: Final = 5
_TAG_RAW_INPUT: Final = b"\x3a"
_UNFIT: Final = frozenset({Datatype.BYTES.value, Datatype.BF16.value, Datatype.BOOL.value})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownRequest:
    """What a beginning says. `shape` was checked when the request was first seen. Found by its identity: there is one for each beginning."""

    model: str
    version: str
    input: str
    datatype: str
    shape: tuple[int, ...]
    wanted: tuple[str, ...]
    begins: int
    """Where the numbers begin in the body."""

    def raw(self, body: bytes | memoryview) -> memoryview:
        """The numbers of a request with this beginning."""
        return memoryview(body)[self.begins :]


class KnownRequests:
    """For protobuf: a message with one raw input, in canonical order, ends in that input's bytes. Bounded; forgets everything when full.

    Bodies are whole gRPC messages, their five bytes of prefix included: equal beginnings are equal there too. Knows nothing of models: whoever
    asks must check that input and datatype still fit.
    """

    def __init__(self) -> None:
        self._begins: dict[int, int] = {}
        """Length of a body -> where its numbers begin. Two kinds of message of one length take turns."""
        self._known: dict[bytes, KnownRequest] = {}

    def find(self, body: bytes) -> KnownRequest | None:
        """The request with this body's beginning, or None."""
        return self._known.get(body[: self._begins.get(len(body), 0)])

    def find_view(self, view: memoryview) -> KnownRequest | None:
        """The same for a large body."""
        return self._known.get(bytes(view[: self._begins.get(len(view), 0)]))

    def learn(self, body: bytes | memoryview, asked: Any, raw_contents: Sequence[bytes | memoryview]) -> None:
        """Remember a request that was just parsed from `body`, if it is of the kind that can be. `asked` may be without its raw contents."""
        if len(asked.inputs) != 1 or len(raw_contents) != 1 or asked.id or asked.parameters:
            return
        if asked.inputs[0].parameters or any(output.parameters for output in asked.outputs):
            return
        raw, tensor = raw_contents[0], asked.inputs[0]
        begins = len(body) - len(raw)
        if not _GRPC_PREFIX < begins <= _MAX_PREFIX or tensor.datatype in _UNFIT or not raw:
            return
        said: bytes = asked.SerializeToString(deterministic=True)
        header = _TAG_RAW_INPUT + varint(len(raw))
        canonical = said[: len(said) - len(raw)] if asked.raw_input_contents else said + header
        if body[_GRPC_PREFIX:begins] != canonical or not canonical.endswith(header):
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
            self._begins.clear()
        self._begins[len(body)] = begins
        self._known[bytes(body[:begins])] = KnownRequest(
            model=asked.model_name,
            version=asked.model_version,
            input=tensor.name,
            datatype=tensor.datatype,
            shape=tuple(tensor.shape),
            wanted=tuple(output.name for output in asked.outputs),
            begins=begins,
        )


_decode_list = msgspec.json.Decoder(list[float]).decode


def decode_numbers(text: bytes) -> list[float]:
    """JSON numbers, separated by commas. Raises msgspec.DecodeError where anything else stands there."""
    return _decode_list(b"[%b]" % text)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KnownBody:
    """A JSON request of one flat list of floats: what its surroundings say."""

    rows: int
    shape: list[int]
    count: int
    opening: bytes
    """Everything before the first number, its bracket included."""
    closing: bytes
    """Everything after the last number, its bracket included."""


class KnownBodies:
    """For JSON, and for one model: what stands before the numbers, and after them. Bounded; forgets everything when full."""

    __slots__ = ("_known", "_last")

    def __init__(self) -> None:
        self._known: dict[bytes, KnownBody] = {}
        self._last: KnownBody | None = None
        """The one that `cut` found last: clients repeat themselves."""

    def cut(self, body: bytes) -> tuple[KnownBody, bytes] | None:
        """The request with these surroundings and the text between the brackets, or None.

        It has the commas of as many numbers as it must hold. Where several such texts, joined by commas, are a list of floats, each of them
        holds exactly its own: a float has no comma in it, and a list of floats nothing but floats.
        """
        known = self._last
        if known is None or not body.startswith(known.opening):
            known = self._known.get(body[: body.find(b"[", body.find(_DATA_KEY, 0, _MAX_PREFIX)) + 1])
            if known is None:
                return None
            self._last = known
        if not body.endswith(known.closing):
            return None
        begins, ends = len(known.opening), len(body) - len(known.closing)
        return (known, body[begins:ends]) if body.count(b",", begins, ends) == known.count - 1 else None

    def find(self, body: bytes) -> tuple[KnownBody, list[float]] | None:
        """The request with these surroundings and its numbers, or None. Raises msgspec.DecodeError where the numbers are none."""
        found = self.cut(body)
        if found is None:
            return None
        numbers = decode_numbers(found[1])
        return (found[0], numbers) if len(numbers) == found[0].count else None

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
            if decode_numbers(body[begins + 1 : ends - 1]) != data:
                return
        except msgspec.DecodeError:
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        opening = body[: begins + 1]
        self._known[opening] = KnownBody(rows=shape[0], shape=shape, count=len(data), opening=opening, closing=body[ends - 1 :])


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
