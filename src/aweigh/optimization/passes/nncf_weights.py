"""Weights of 8 or 4 bits by NNCF; activations stay in float. A quarter or an eighth of the file, and faster where reading weights is what takes the time.

Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/weight-compression.html
"""

from collections.abc import Sequence

from aweigh.optimization.passes.openvino_takes import check_floats
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class NncfWeights:
    """By `nncf.compress_weights`: no rows are needed. INT4 takes groups of 64 weights, each with a scale of its own, and leaves what is looked up or comes last at 8 bits."""

    declares = Declaration(
        name="nncf-weights",
        kind=Kind.PRECISION,
        takes=("onnxruntime",),
        goals=frozenset({"cpu", "latency", "size", "edge"}),
        departs=True,
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_floats(job)
        return [
            Way(name="int8", choices={"mode": "int8_asym"}),
            Way(name="int4", choices={"mode": "int4_sym", "group": 64}),
            Way(name="int4-fine", choices={"mode": "int4_asym", "group": 32}),
        ]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.irs.weights import compressed

        return compressed(job)
