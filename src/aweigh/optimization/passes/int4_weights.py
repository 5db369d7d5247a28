"""INT4 weights of products, in blocks that each have a scale. The smallest file that ONNX Runtime runs; seldom the fastest.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#quantize-to-int4uint4
"""

from collections.abc import Sequence

from aweigh.optimization.passing import Choice, Declaration, Kind, Made, PassJob, Way


class Int4Weights:
    """By `MatMulNBitsQuantizer`; Gemm is rewritten for it, which knows MatMul alone."""

    declares = Declaration(
        name="int4-weights", kind=Kind.PRECISION, takes=("onnxruntime",), goals=frozenset({"size", "edge", "mobile"}), departs=True
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        return [
            Way(name="block-32", choices=_choices(32, 4)),
            Way(name="block-128", choices=_choices(128, 4)),
            Way(name="block-32-float", choices=_choices(32, 0)),
        ]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.graphs.four import four_bits

        return four_bits(job)


def _choices(block: int, accuracy_level: int) -> dict[str, Choice]:
    """Level 4: products are computed with activations of eight bits."""
    return {"block": block, "accuracy_level": accuracy_level, "symmetric": False}
