"""Bodies that cost far more than they weigh, by the name of what they abuse; each as large as asked for."""

import functools
import gzip
import zlib
from collections.abc import Callable

_START, _END = b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":', b"}]}"
_ROW = b"[1,2,3,4]"


def _filled(size: int, head: bytes, unit: bytes, tail: bytes, separator: bytes = b",") -> bytes:
    """`unit` as often as fits."""
    count = (size - len(head) - len(tail)) // (len(unit) + len(separator))
    return head + separator.join([unit] * count) + tail


@functools.cache
def _numbered(size: int) -> bytes:
    """Keys and values, each key another."""
    pieces: list[bytes] = []
    while size > 0:
        pieces.append(b'"%x":1' % len(pieces))
        size -= len(pieces[-1]) + 1
    return b",".join(pieces[:-1])


def _keys(size: int, head: bytes, tail: bytes) -> bytes:
    """Distinct keys, as many as fit: a million in eight MiB, ten million in less than a hundred."""
    return head + _numbered(size - 200) + tail


JSON: dict[str, Callable[[int], bytes]] = {
    "10M keys, at the top": lambda size: _keys(size, b"{", b"}"),
    "10M keys, as parameters": lambda size: _keys(size, _START + _ROW + b'}],"parameters":{', b"}}"),
    "10M keys, as an input's parameters": lambda size: _keys(size, _START + _ROW + b',"parameters":{', b"}" + _END),
    "10M keys, as data": lambda size: _keys(size, _START + b"{", b"}" + _END),
    "empty lists as data": lambda size: _filled(size, _START + b"[", b"[]", b"]" + _END),
    "empty objects as data": lambda size: _filled(size, _START + b"[", b"{}", b"]" + _END),
    "numbers of one digit": lambda size: _filled(size, _START + b"[", b"1", b"]" + _END),
    "numbers without commas": lambda size: _filled(size, _START + b"[", b"1", b"]" + _END, b" "),
    "numbers with a point": lambda size: _filled(size, _START + b"[", b"1.5", b"]" + _END),
    "texts as data": lambda size: _filled(size, _START + b"[", b'"a"', b"]" + _END),
    "NaN tokens": lambda size: _filled(size, _START + b"[", b"NaN", b"]" + _END),
    "infinities and numbers": lambda size: _filled(size, _START + b"[", b"Infinity,1.5", b"]" + _END),
    "a million inputs": lambda size: _filled(size, b'{"inputs":[', b'{"name":"","shape":[],"datatype":""}', b"]}"),
    "empty inputs": lambda size: _filled(size, b'{"inputs":[', b"{}", b"]}"),
    "a million outputs": lambda size: _filled(size, _START + _ROW + b'}],"outputs":[', b'{"name":""}', b"]}"),
    "10^6 dims": lambda size: _filled(size, b'{"inputs":[{"name":"X","datatype":"FP32","data":[],"shape":[', b"1", b"]}]}"),
    "a dim of a million digits": lambda size: b'{"inputs":[{"name":"X","datatype":"FP32","data":[],"shape":[%b]}]}' % (b"1" * (size - 100)),
    "a number of a million digits": lambda size: _START + b"[" + b"1" * (size - 100) + b"]" + _END,
    "a name of a million letters": lambda size: (
        b'{"inputs":[{"name":"%b","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}' % (b"x" * (size - 100))
    ),
    "100k deep lists": lambda size: _START + b"[" * (size // 2 - 100) + b"]" * (size // 2 - 100) + _END,
    "100k deep lists, never closed": lambda size: b"[" * size,
    "100k deep objects": lambda size: b'{"a":' * (size // 5),
    "brackets in a text": lambda size: _START + b'["' + b"[" * (size - 200) + b'"]' + _END,
    "escaped quotes": lambda size: _START + b'["' + b'\\"[' * (size // 3 - 70) + b'"]' + _END,
    "backslashes": lambda size: _START + b'["' + b"\\" * (size - 200) + b'"]' + _END,
    "white space": lambda size: _START + b" " * (size - 200) + b"[1]" + _END,
    "NULs": bytes,
    "invalid UTF-8": lambda size: b"\xff" * size,
    "data twice": lambda size: _filled(size, _START + b"[", b"1", b'],"data":' + _ROW + _END),
}
"""For POST /v2/models/NAME/infer."""

ROWS: dict[str, Callable[[int], bytes]] = {
    "10M keys in a row": lambda size: _keys(size, b"{", b"}"),
    "empty rows": lambda size: _filled(size, b"[", b"{}", b"]"),
    "empty lists": lambda size: _filled(size, b"[", b"[]", b"]"),
    "numbers": lambda size: _filled(size, b"[", b"1", b"]"),
    "too many right rows": lambda size: _filled(size, b"[", b'{"X_0":1,"X_1":2,"X_2":3,"X_3":4}', b"]"),
    "a million columns": lambda size: _filled(size, b'{"columns":[', b'"a"', b'],"data":[]}'),
    "100k deep": lambda size: b'{"X_0":' + b"[" * (size // 2 - 10) + b"]" * (size // 2 - 10) + b"}",
    "never closed": lambda size: b'{"rows":' + b"[" * (size - 10),
}
"""For POST /predict/NAME."""


def coded(size: int) -> dict[str, tuple[str, bytes]]:
    """Content-Encoding and body: small on the wire, and more than `size` inflated."""
    zeros = bytes(size)
    lists = _filled(size, _START + b"[", b"[]", b"]" + _END)
    return {
        "gzip 1:1000, of zeros": ("gzip", gzip.compress(zeros * 16)),
        "gzip 1:1000, just past the limit": ("gzip", gzip.compress(zeros + b"0")),
        "gzip 1:1000, cut off": ("gzip", gzip.compress(zeros * 16)[:-100]),
        "gzip of JSON that costs more than it weighs": ("gzip", gzip.compress(lists)),
        "deflate of zeros": ("deflate", zlib.compress(zeros * 16)),
        "raw deflate of zeros": ("deflate", zlib.compress(zeros * 16)[2:-4]),
        "nested gzip": ("gzip", gzip.compress(gzip.compress(zeros * 16))),
        "nested gzip, declared": ("gzip, gzip", gzip.compress(gzip.compress(zeros * 16))),
        "a thousand members of gzip": ("gzip", gzip.compress(bytes(size // 500)) * 1000),
        "a million empty members of gzip": ("gzip", gzip.compress(b"", 1) * (size // 20)),
        "a coding that nobody knows": ("br", b"x" * 1000),
    }
