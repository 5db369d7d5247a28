"""Whole hidden units and channels are taken out, the least of them first, and what is left is trained: smaller tensors, so every runtime gains.

Source: Li et al., https://arxiv.org/abs/1608.08710
"""

from collections.abc import Sequence

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.hook import Treatment
from aweigh.optimization.training.needs import NEEDS, check


class PruneStructured:
    """PyTorch modules: linear layers and convolutions, whatever lies between them that goes unit by unit."""

    declares = Declaration(name="prune-structured", kind=Kind.TRAIN, takes=("onnxruntime",), needs=NEEDS, departs=True)

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        return [Way(name=name, choices={"keep": keep}) for name, keep in (("quarter", 0.25), ("half", 0.5), ("eighth", 0.125))]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.torch_cut import cut
        from aweigh.optimization.training.torch_run import module_written, trained
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.written import made

        source = live(job)
        told = cut(source, float(job.way.choices["keep"]))
        outcome = trained(job, source, source.module, Treatment(), progress=progress)
        return made(job, module_written(job, source, outcome.model), f"units kept: {', '.join(told)}", outcome.told)
