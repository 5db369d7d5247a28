"""ModelInferRequests that were seen before in all but their numbers: decoded by comparing bytes instead of parsing protobuf again.

A request with one raw input ends in that input's bytes. What stands before them says everything else, so an equal beginning (and an
equal length) means an equal request with other numbers. Only messages in protobuf's canonical order enter, which leaves no doubt where
the numbers begin; anything else is parsed each time.
"""

import dataclasses
from typing import Any, Final

from aweigh.core.tensors import Datatype

_MAX_KNOWN: Final = 128
_MAX_PREFIX: Final = 1024
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
    """Bounded; forgets everything when full. Knows nothing of models: whoever asks must check that input and datatype still fit."""

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
        if len(asked.inputs) != 1 or len(asked.raw_input_contents) != 1 or asked.id:
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
