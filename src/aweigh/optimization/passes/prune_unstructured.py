"""Single weights are held at zero while the model learns on. The tensors keep their sizes, so no runtime gets faster: what shrinks is the file, where it is compressed.

Source: Zhu, Gupta, https://arxiv.org/abs/1710.01878
"""

from collections.abc import Sequence

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.needs import NEEDS, check
from aweigh.optimization.training.packed import packed_sizes


class PruneUnstructured:
    """PyTorch modules: weights of linear layers and convolutions, by size."""

    declares = Declaration(
        name="prune-unstructured",
        kind=Kind.TRAIN,
        takes=("onnxruntime",),
        needs=NEEDS,
        goals=frozenset({"size", "edge", "mobile"}),
        departs=True,
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        return [Way(name=f"{share}-percent", choices={"share": share / 100}) for share in (80, 90)]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.torch_masks import Sparse
        from aweigh.optimization.training.torch_run import Training, module_written
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.written import made

        source = live(job)
        treatment = Sparse(source.module, float(job.way.choices["share"]))
        outcome = Training(job, source, progress).run(source.module, treatment)
        treatment.hold()
        file = module_written(job, source, source.module)
        gone = f"{100 * treatment.zeros():.0f}% of the weights are zero: no runtime is faster by that"
        return made(job, file, f"{gone}; {packed_sizes(file)}", outcome.told)
