"""The weights of each layer become a few shared numbers, which learn on together. The file keeps indexes into them, a fourth or an eighth of the size; the runtime puts the
weights together as it loads it, so answers take as long as before.

Source: Han et al., https://arxiv.org/abs/1510.00149
"""

from collections.abc import Sequence

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.needs import NEEDS, check
from aweigh.optimization.training.packed import packed_sizes

_OPSETS = {16: 21, 256: 18}
"""Four bits an index are known from opset 21 on."""


class ClusterWeights:
    """PyTorch modules: weights of linear layers and convolutions."""

    declares = Declaration(
        name="cluster-weights",
        kind=Kind.TRAIN,
        takes=("onnxruntime",),
        needs=NEEDS,
        goals=frozenset({"size", "edge", "mobile"}),
        composes=False,
        departs=True,
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        return [Way(name=f"{count}-numbers", choices={"count": count}) for count in (16, 256)]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.shared_onnx import share
        from aweigh.optimization.training.torch_clusters import Shared
        from aweigh.optimization.training.torch_run import Training, module_written
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.written import made

        count = int(job.way.choices["count"])
        source = live(job)
        treatment = Shared(source.module, count)
        outcome = Training(job, source, progress).run(source.module, treatment)
        treatment.step()
        file = module_written(job, source, source.module, opset=_OPSETS[count])
        layers = share(file)
        return made(job, file, f"{layers} tensors of {count} shared numbers each; {packed_sizes(file)}", outcome.told)
