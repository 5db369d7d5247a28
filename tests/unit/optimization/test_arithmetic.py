"""Floating-point operations by shapes, held against what the definitions count."""

import pytest

from aweigh.optimization.arithmetic import operations
from aweigh.runtimes.onnxruntime_profile import Operator, Shapes


def operator(kind: str, inputs: Shapes, outputs: Shapes) -> Operator:
    return Operator(
        name="n", kind=kind, provider="CPU", calls_us=(1.0,), inputs=inputs, outputs=outputs, datatype="float",
        weight_bytes=0, moved_bytes=0, output_bytes=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "expected"),
    [
        ("MatMul", ((4, 8), (8, 3)), ((4, 3),), 2 * 4 * 3 * 8),
        ("MatMul", ((2, 5, 4, 8), (2, 5, 8, 3)), ((2, 5, 4, 3),), 2 * 2 * 5 * 4 * 3 * 8),
        ("MatMul", ((8,), (8,)), ((),), 2 * 8),
        ("Gemm", ((4, 8), (8, 3), (3,)), ((4, 3),), 2 * 4 * 3 * 8),
        ("FusedMatMul", ((8, 4), (8, 3)), ((4, 3),), 2 * 4 * 3 * 8),
        ("Conv", ((1, 3, 10, 10), (16, 3, 3, 3)), ((1, 16, 8, 8),), 2 * 16 * 8 * 8 * 3 * 9),
        ("Conv", ((1, 16, 10, 10), (16, 1, 3, 3)), ((1, 16, 8, 8),), 2 * 16 * 8 * 8 * 9),
        ("QLinearConv", ((1, 3, 10, 10), (), (), (16, 3, 3, 3)), ((1, 16, 8, 8),), 2 * 16 * 8 * 8 * 3 * 9),
        ("ConvTranspose", ((1, 8, 5, 5), (8, 4, 2, 2)), ((1, 4, 10, 10),), 2 * 8 * 25 * 4 * 4),
        ("LSTM", ((7, 2, 8), (1, 64, 8), (1, 64, 16)), ((7, 1, 2, 16),), 2 * 7 * 2 * (64 * 8 + 64 * 16)),
        ("Relu", ((4, 8),), ((4, 8),), 32),
        ("Conv", ((1, 3, 10, 10),), ((1, 16, 8, 8),), 0),
        ("Relu", (), (), 0),
    ],
    ids=["2-d", "4-d", "vectors", "gemm", "transposed", "convolution", "depthwise", "quantised", "transposed convolution", "lstm", "element", "no weights", "nothing"],
)  # fmt: skip
def test_operations(kind: str, inputs: Shapes, outputs: Shapes, expected: float) -> None:
    assert operations(operator(kind, inputs, outputs)) == expected
