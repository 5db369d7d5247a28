"""A smaller model of the person's own learns from the source's answers. A second one, trained as long without them, is the control: the first is kept only where it is better.

Source: Hinton, Vinyals, Dean, https://arxiv.org/abs/1503.02531
"""

from collections.abc import Sequence

from aweigh.core.errors import Unsupported
from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way
from aweigh.optimization.training.needs import NEEDS, check


class Distil:
    """PyTorch modules; the training code takes its loss from `callbacks.loss`."""

    declares = Declaration(name="distil", kind=Kind.TRAIN, takes=("onnxruntime",), needs=NEEDS | {Need.STUDENT}, departs=True)

    def ways(self, job: PassJob) -> Sequence[Way]:
        check(job)
        if not job.student:
            raise Unsupported("it teaches a smaller model of yours", hint="give --student module:factory")
        return [Way(name="")]

    def make(self, job: PassJob, progress: Progress = quiet) -> Made:
        from aweigh.optimization.training.torch_run import module_written
        from aweigh.optimization.training.torch_source import live
        from aweigh.optimization.training.torch_students import compared
        from aweigh.optimization.training.written import made

        source = live(job)
        taught, plain = compared(job, source, progress)
        both = f"{taught.what}: taught {taught.text}, on its own {plain.text}"
        if taught.reached <= plain.reached:
            raise Unsupported(
                f"the student learns as much without the teacher ({both})",
                hint=f"pack what {job.student} learns on its own as a model of its own, or give a larger student",
            )
        return made(job, module_written(job, source, taught.model), both, taught.told, plain.told)
