"""What this machine can do at most, measured: float32 operations a second in ONNX Runtime's own product of matrices, and bytes a second, of memory and of each size of cache.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

import os
import struct
from collections.abc import Callable
from time import perf_counter
from typing import Final

import msgspec
import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import onnxruntime as ort

_SIDE: Final = 768
_MEMORY_BYTES: Final = 128 * 1024 * 1024
_CACHED_BYTES: Final = tuple(1 << power for power in range(14, 27))
"""From 16 KiB to 64 MiB: among them are the sizes of all caches, to a factor of two."""
_SECONDS: Final = 0.3
_CACHED_S: Final = 0.02
_FLOAT: Final = 1
"""TensorProto.FLOAT."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """How fast bytes move that are asked again and again, where they are no more than `size_bytes`."""

    size_bytes: int
    bytes_s: float


class Roofline(msgspec.Struct, frozen=True, kw_only=True):
    """The most that was seen, in so many threads. `bytes_s` is memory's; `levels` are those of caches, the smallest and fastest first."""

    operations_s: float
    bytes_s: float
    threads: int
    levels: tuple[Level, ...] = ()

    def bytes_s_of(self, held_bytes: float) -> float:
        """Bytes a second, where so many are asked again and again."""
        return next((level.bytes_s for level in self.levels if held_bytes <= level.size_bytes), self.bytes_s)

    def least_us(self, operations: float, moved_bytes: float, *, weight_bytes: float = 0, all_weights: float = 0) -> float:
        """The least time that so much work can take: the longer of computing and moving. Of what is moved `weight_bytes` are weights: these come out of a cache where that holds the
        weights of the whole model, `all_weights`, each of which is read once a call."""
        moving = self.reading_s(weight_bytes, max(moved_bytes, all_weights)) + self.reading_s(moved_bytes - weight_bytes, moved_bytes)
        return max(operations / self.operations_s, moving) * 1e6

    def reading_s(self, size_bytes: float, held_bytes: float) -> float:
        """Seconds for so many bytes of those that are asked again and again."""
        return size_bytes / self.bytes_s_of(held_bytes)


def measure_roofline(threads: int) -> Roofline:
    """In about two seconds. What is bound by memory is measured on one thread: it is one processor's share that counts."""
    memory = _most_bytes_s(_MEMORY_BYTES, _SECONDS)
    levels, most = [], memory
    for size in reversed(_CACHED_BYTES):
        # what fits in a smaller cache moves no slower: where it seems to, it is the cost of a call
        most = max(most, _most_bytes_s(size, _CACHED_S))
        levels.append(Level(size_bytes=size, bytes_s=most))
    return Roofline(operations_s=_most_operations_s(threads), bytes_s=memory, threads=threads, levels=tuple(reversed(levels)))


def _most_operations_s(threads: int) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(_product_model(), options, providers=["CPUExecutionProvider"])
    square = np.ones((_SIDE, _SIDE), np.float32)
    quickest = _quickest_s(lambda: session.run(None, {"a": square, "b": square}), _SECONDS)
    return 2.0 * _SIDE**3 / quickest


def _most_bytes_s(size: int, seconds: float) -> float:
    """Of so many bytes, the faster of copying one half to the other and searching them for what is not there, which reads alone."""
    source, searched = np.ones(size // 2, np.uint8), b"a" * size
    target = np.empty_like(source)
    quickest = min(_quickest_s(lambda: np.copyto(target, source), seconds), _quickest_s(lambda: searched.find(b"b"), seconds))
    return size / quickest


def _quickest_s(work: Callable[[], object], seconds: float) -> float:
    work()
    began, quickest = perf_counter(), float("inf")
    while perf_counter() - began < seconds:
        started = perf_counter()
        work()
        quickest = min(quickest, perf_counter() - started)
    return quickest


def _product_model() -> bytes:
    """An ONNX file of one MatMul, written by hand: the base install has no library that could (onnx.proto, ModelProto)."""
    node = _field(1, b"a") + _field(1, b"b") + _field(2, b"c") + _field(4, b"MatMul")
    graph = _field(1, node) + _field(2, b"product") + _field(11, _matrix(b"a")) + _field(11, _matrix(b"b")) + _field(12, _matrix(b"c"))
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 17))


def _matrix(name: bytes) -> bytes:
    side = _field(1, _number(1, _SIDE))
    return _field(1, name) + _field(2, _field(1, _number(1, _FLOAT) + _field(2, side + side)))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += struct.pack("B", value & 0x7F | 0x80)
        value >>= 7
    return out + struct.pack("B", value)
