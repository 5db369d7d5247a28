"""Quantisation-aware training: layers compute in eight bits, and the weights learn to live with that. Better than rounding afterwards where that costs accuracy.

Source: https://docs.pytorch.org/ao/stable/pt2e_quantization/pt2e_quant_qat.html
"""

from collections.abc import Sequence

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passes.processors import saturates
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.needs import NEEDS, check


class Qat:
    """PyTorch modules, by torchao; weights by output channel, activations by tensor."""

    declares = Declaration(name="qat", kind=Kind.TRAIN, takes=("onnxruntime",), needs=NEEDS, composes=False, departs=True)

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        return [Way(name="", choices={"levels": 127 if saturates(job.device) else 255})]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.torch_qat import rounded
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.written import made

        file, outcome, layers = rounded(job, live(job), int(job.way.choices["levels"]), progress)
        return made(
            job, file, f"{layers} layers in eight bits, activations up to {job.way.choices['levels']}", outcome.told, precision="int8"
        )
