"""Half precision, with the operators in float32 whose error or overflow asks for it. Half the size; on processors without FP16 arithmetic no gain in speed.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/float16.html
"""

from collections.abc import Sequence

from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class Fp16:
    """By `onnxruntime.transformers.float16`, float32 at the ends."""

    declares = Declaration(
        name="fp16", kind=Kind.PRECISION, takes=("onnxruntime",), goals=frozenset({"size", "gpu", "edge", "mobile"}), departs=True
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        return [Way(name="")]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.graphs.halves import half

        return half(job)
