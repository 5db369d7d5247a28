"""INT8 weights and activations by NNCF, run by OpenVINO: ranges are found on calibration rows. Convolutions gain most; transformers keep what would not bear it in float.

Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
"""

from collections.abc import Sequence

from aweigh.optimization.passes.openvino_takes import GOALS, int8_ways
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way


class NncfInt8:
    """By `nncf.quantize`. Presets: "mixed" gives activations a range of their own below and above nought, "performance" the same on both sides."""

    declares = Declaration(
        name="nncf-int8", kind=Kind.PRECISION, takes=("onnxruntime",), needs=frozenset({Need.CALIBRATION}), goals=GOALS, departs=True
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        return int8_ways(job)

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.irs.eight import quantised

        return quantised(job)
