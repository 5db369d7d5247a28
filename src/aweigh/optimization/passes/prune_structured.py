"""Whole hidden units and channels are taken out, the least of them first, and what is left is trained: smaller tensors, so every runtime gains.

What is to lose more than half of them loses half at a time and is trained after each: it keeps more of what it knew than after one deep cut.

Source: Li et al., https://arxiv.org/abs/1608.08710 (section 3.4, "prune and retrain iteratively")
"""

from collections.abc import Sequence
from typing import Final

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.hook import Treatment
from aweigh.optimization.training.needs import NEEDS, check

_STAGE: Final = 0.2
"""Of the time that is left, for the training after each cut but the last, which has all of it."""


class PruneStructured:
    """PyTorch modules: linear layers and convolutions, whatever lies between them that goes unit by unit."""

    declares = Declaration(name="prune-structured", kind=Kind.TRAIN, takes=("onnxruntime",), needs=NEEDS, departs=True)

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        return [Way(name=name, choices={"keep": keep}) for name, keep in (("quarter", 0.25), ("half", 0.5), ("eighth", 0.125))]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.torch_channels import spaces
        from aweigh.optimization.training.torch_cut import cut
        from aweigh.optimization.training.torch_run import Training, module_written
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.written import made

        source = live(job)
        units, keep = spaces(source), float(job.way.choices["keep"])
        training, told = Training(job, source, progress), []
        for share in (0.5, 0.25):
            if share > keep:
                cut(source, share, units)
                seconds = training.left_s * _STAGE
                told.append(training.run(source.module, Treatment(), what=f"training with {share:.0%} of the units", seconds=seconds).told)
        kept = cut(source, keep, units)
        told.append(training.run(source.module, Treatment()).told)
        return made(job, module_written(job, source, source.module), f"units kept: {', '.join(kept)}", *told)
