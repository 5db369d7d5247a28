"""Two of every four neighbouring weights are held at zero while the model learns on: the pattern that NVIDIA's tensor cores (Ampere and later) multiply twice as fast.

Processors gain nothing by it: it is tried where the search is for graphics cards, and a TensorRT engine is built of it there.
Source: https://docs.pytorch.org/tutorials/advanced/semi_structured_sparse.html
"""

from collections.abc import Sequence

from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, PassJob, Way
from aweigh.optimization.training.needs import NEEDS, check


class PruneTwoFour:
    """PyTorch modules: weights of linear layers and convolutions, along their inputs."""

    declares = Declaration(name="prune-2-4", kind=Kind.TRAIN, takes=("onnxruntime",), needs=NEEDS, goals=frozenset({"gpu"}), departs=True)

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        return [Way(name="")]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.torch_masks import TwoOfFour
        from aweigh.optimization.training.torch_run import Training, module_written
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.written import made

        source = live(job)
        treatment = TwoOfFour(source.module)
        outcome = Training(job, source, progress).run(source.module, treatment)
        treatment.step()
        note = f"two of every four weights of {', '.join(treatment.names)} are zero: faster on NVIDIA cards from Ampere on, with an engine built for that; nowhere else"
        return made(job, module_written(job, source, source.module), note, outcome.told)
