"""The weights of each layer of a Keras 3 model become a few shared numbers, which learn on together; the file keeps indexes into them, and the runtime puts the weights together
as it loads it.

Source: Han et al., https://arxiv.org/abs/1510.00149
"""

from collections.abc import Sequence

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.needs import NEEDS, check
from aweigh.optimization.training.packed import packed_sizes

_NEAR = 1e-3


class KerasCluster:
    """Dense layers and convolutions."""

    declares = Declaration(
        name="keras-cluster",
        kind=Kind.TRAIN,
        takes=("onnxruntime", "tensorflow"),
        needs=NEEDS,
        goals=frozenset({"size", "edge", "mobile"}),
        composes=False,
        departs=True,
    )

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job, keras=True)
        return [Way(name=f"{count}-numbers", choices={"count": count}) for count in (256, 16)]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.keras_run import live_keras, trained_keras, write_keras
        from aweigh.optimization.training.keras_weights import SharedKernels
        from aweigh.optimization.training.shared_onnx import share
        from aweigh.optimization.training.written import made

        count = int(job.way.choices["count"])
        live = live_keras(job)
        treatment = SharedKernels(live, count)
        told = trained_keras(job, live, treatment, progress=progress)
        treatment.step()
        file = write_keras(job, live, _NEAR)
        tensors = share(file)
        return made(job, file, f"{tensors} tensors of {count} shared numbers each; {packed_sizes(file)}", told, precision="fp32")
