"""The graph as OpenVINO's own files, run by OpenVINO: other kernels, the same float32 answers. What OpenVINO's other passes begin with.

Source: https://docs.openvino.ai/2026/openvino-workflow/model-preparation.html
"""

from collections.abc import Sequence

from aweigh.optimization.passes.openvino_takes import GOALS, check_takes
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class OpenVino:
    """An .xml with its .bin; rows that hold a NaN are answered as ONNX Runtime answers them, or told."""

    declares = Declaration(name="openvino", kind=Kind.REWRITE, takes=("onnxruntime",), goals=GOALS)

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_takes(job)
        return [Way(name="")]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.irs.missing import nan_options
        from aweigh.optimization.irs.models import made, read_model

        model = read_model(job)
        options, notes = nan_options(job, model)
        return made(model, job, job.variant.precision, options=options, notes=notes)
