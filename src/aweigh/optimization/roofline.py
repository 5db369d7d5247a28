"""What this machine can do at most, measured: float32 operations a second in ONNX Runtime's own product of matrices, and bytes a second of a copy.

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
_COPIED_BYTES: Final = 64 * 1024 * 1024
_SECONDS: Final = 0.3
_FLOAT: Final = 1
"""TensorProto.FLOAT."""


class Roofline(msgspec.Struct, frozen=True, kw_only=True):
    """The most that was seen, in so many threads."""

    operations_s: float
    bytes_s: float
    threads: int

    def least_us(self, operations: float, moved_bytes: float) -> float:
        """The least time that so much work can take: the longer of computing and moving."""
        return max(operations / self.operations_s, moved_bytes / self.bytes_s) * 1e6


def measure_roofline(threads: int) -> Roofline:
    """In about half a second. What is bound by memory is measured on one thread: it is one processor's share that counts."""
    return Roofline(operations_s=_most_operations_s(threads), bytes_s=_most_bytes_s(), threads=threads)


def _most_operations_s(threads: int) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = ort.InferenceSession(_product_model(), options, providers=["CPUExecutionProvider"])
    square = np.ones((_SIDE, _SIDE), np.float32)
    quickest = _quickest_s(lambda: session.run(None, {"a": square, "b": square}))
    return 2.0 * _SIDE**3 / quickest


def _most_bytes_s() -> float:
    source = np.ones(_COPIED_BYTES, np.uint8)
    target = np.empty_like(source)
    return 2.0 * _COPIED_BYTES / _quickest_s(lambda: np.copyto(target, source))


def _quickest_s(work: Callable[[], object]) -> float:
    work()
    began, quickest = perf_counter(), float("inf")
    while perf_counter() - began < _SECONDS:
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
