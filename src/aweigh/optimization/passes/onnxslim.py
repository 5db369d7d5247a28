"""Graph clean-up: constants folded, what is dead or doubled taken out. Smaller files, and graphs that later passes understand.

Source: https://github.com/inisis/OnnxSlim
"""

from collections.abc import Sequence

from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way


class Onnxslim:
    """By `onnxslim.slim`."""

    declares = Declaration(name="onnxslim", kind=Kind.REWRITE, takes=("onnxruntime",))

    def ways(self, job: PassJob) -> Sequence[Way]:
        return [Way(name="")]

    def make(self, job: PassJob) -> Made:
        from aweigh.optimization.graphs.rewriting import slim

        return slim(job)
