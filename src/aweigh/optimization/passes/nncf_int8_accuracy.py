"""INT8 by NNCF, in which the operations that hurt go back to float, one group after the other, until enough rows agree with the source.

Source: https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/quantizing-models-post-training/quantizing-with-accuracy-control.html
"""

from collections.abc import Sequence

from aweigh.optimization.passes.openvino_takes import GOALS, int8_ways
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way


class NncfInt8Accuracy:
    """By `nncf.quantize_with_accuracy_control`. Every group is tried in float by itself: the dearest pass of its kind, for what `nncf-int8` spoils."""

    declares = Declaration(
        name="nncf-int8-accuracy",
        kind=Kind.PRECISION,
        takes=("onnxruntime",),
        needs=frozenset({Need.CALIBRATION}),
        goals=GOALS,
        departs=True,
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        return int8_ways(job)[:1]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.irs.controlled import quantised_with_control

        return quantised_with_control(job)
