"""ONNX Runtime's own format: loads faster, and runs in the reduced builds that phones have, with the list of operators such a build needs.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html
"""

from collections.abc import Sequence

from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class OrtFormat:
    """Saved by a session of ONNX Runtime; "this-machine" with the layout that this processor likes, without which convolutions take three times as long."""

    declares = Declaration(
        name="ort-format", kind=Kind.REWRITE, takes=("onnxruntime",), goals=frozenset({"edge", "mobile", "size"}), composes=False
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        return [Way(name="this-machine", choices={"level": "all"}), Way(name="portable", choices={"level": "extended"})]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.graphs.rewriting import ort_format

        return ort_format(job)
