"""Whole hidden units and channels are taken out, the least of them first, and what is left is trained: smaller tensors, so every runtime gains.

What is to lose more than half of them loses half at a time and is trained after each: it keeps more of what it knew than after one deep cut.

Source: Li et al., https://arxiv.org/abs/1608.08710 (section 3.4, "prune and retrain iteratively")
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.hook import Treatment
from aweigh.optimization.training.needs import NEEDS, check

_STAGE: Final = 0.2
"""Of the time, for the training after each cut but the last, which has what is left."""


class PruneStructured:
    """PyTorch modules: linear layers and convolutions, whatever lies between them that goes unit by unit."""

    declares = Declaration(name="prune-structured", kind=Kind.TRAIN, takes=("onnxruntime",), needs=NEEDS, departs=True)

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        return [Way(name=name, choices={"keep": keep}) for name, keep in (("quarter", 0.25), ("half", 0.5), ("eighth", 0.125))]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.torch_cut import cut, widths
        from aweigh.optimization.training.torch_run import module_written, trained
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.written import made

        source = live(job)
        before, keep = widths(source), float(job.way.choices["keep"])
        earlier, told = [share for share in (0.5, 0.25) if share > keep], []
        for share in earlier:
            cut(source, share, before)
            outcome = trained(
                job, source, source.module, Treatment(), progress=progress, what=f"training with {share:.0%} of the units", share=_STAGE
            )
            source = dataclasses.replace(source, module=outcome.model)
            told.append(outcome.told)
        units = cut(source, keep, before)
        outcome = trained(job, source, source.module, Treatment(), progress=progress, share=1 - _STAGE * len(earlier))
        return made(job, module_written(job, source, outcome.model), f"units kept: {', '.join(units)}", *told, outcome.told)
