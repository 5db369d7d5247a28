"""ModelInferRequests in protobuf that cost far more than they weigh, by the name of what they abuse; each as large as asked for."""

import functools
from collections.abc import Callable


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes((*encoded, value))


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


_MODEL = field(1, b"linear")


def _tensor(contents: bytes, shape: bytes = b"\x01\x04") -> bytes:
    return _MODEL + field(5, field(1, b"X") + field(2, b"FP32") + field(3, shape) + field(5, contents))


@functools.cache
def _parameters(count: int) -> bytes:
    """Entries of a map, each with a key of its own."""
    return b"".join([b"\x22\x08\x0a\x06%06x" % at for at in range(count)])


MESSAGES: dict[str, Callable[[int], bytes]] = {
    "empty inputs": lambda size: _MODEL + b"\x2a\0" * (size // 2 - 10),
    "empty outputs": lambda size: _MODEL + b"\x32\0" * (size // 2 - 10),
    "empty raw contents": lambda size: _MODEL + b"\x3a\0" * (size // 2 - 10),
    "empty parameters": lambda size: _MODEL + b"\x22\0" * (size // 2 - 10),
    "many parameters": lambda size: _MODEL + _parameters(size // 10 - 10),
    "parameters of an input": lambda size: _MODEL + field(5, field(1, b"X") + b"\x22\0" * (size // 2 - 20)),
    "floats for which no shape has room": lambda size: _tensor(field(6, bytes(size // 4 * 4 - 64))),
    "integers of one byte, which take eight": lambda size: _tensor(field(3, bytes(size - 64))),
    "booleans": lambda size: _tensor(field(1, bytes(size - 64))),
    "integers, each with its tag": lambda size: _tensor(b"\x18\0" * (size // 2 - 32)),
    "empty texts": lambda size: _tensor(b"\x42\0" * (size // 2 - 32)),
    "many contents": lambda size: _MODEL + field(5, b"\x2a\0" * (size // 2 - 20)),
    "10^6 dims": lambda size: _tensor(b"", b"\x01" * (size - 64)),
    "10^6 dims, each with its tag": lambda size: _MODEL + field(5, b"\x18\0" * (size // 2 - 20)),
    "unknown fields": lambda size: _MODEL + b"\x9a\x06\0" * (size // 3 - 10),
    "one unknown field": lambda size: _MODEL + field(99, bytes(size - 64)),
    "groups": lambda size: _MODEL + b"\x0b" * (size // 2 - 10) + b"\x0c" * (size // 2 - 10),
    "raw contents of the wrong size": lambda size: (
        _MODEL + field(5, field(1, b"X") + field(2, b"FP32") + field(3, b"\x01\x04")) + field(7, bytes(size - 64))
    ),
    "a name of a million letters": lambda size: field(1, b"a" * (size - 16)),
    "an id that is not UTF-8": lambda size: _MODEL + field(3, b"\xff" * (size - 32)),
    "no protobuf": lambda size: b"\xff" * size,
}
