"""A student taught and a student on its own, from the same start, for the same time, judged by the same measure. Needs torch."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from aweigh.core.errors import InvalidInput
from aweigh.core.protocols import Progress
from aweigh.optimization.passing import PassJob
from aweigh.optimization.training.hook import Treatment
from aweigh.optimization.training.torch_run import Training
from aweigh.optimization.training.torch_source import Live
from aweigh.optimization.training.torch_teacher import Taught
from aweigh.runtimes.torch_weights import made_by

_SEED: Final = 7
_HALF: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """One that has learnt."""

    model: Any
    what: str
    """What it is judged by."""
    reached: float
    told: str

    @property
    def text(self) -> str:
        return f"{self.reached:.4g}"


def compared(job: PassJob, source: Live, progress: Progress) -> tuple[Student, Student]:
    """The student that was taught, and the one that was not."""
    training = Training(job, source, progress)
    each_s = training.left_s * _HALF
    taught = _student(job, source, training, _Asked(source.module), "taught student", each_s)
    plain = _student(job, source, training, Treatment(), "student on its own", each_s)
    return taught, plain


class _Asked(Taught):
    """Says whether the training code ever asked the teacher."""

    def __init__(self, teacher: Any) -> None:
        super().__init__(teacher)
        self.asked = False

    def loss(self, *given: Any) -> Any:
        self.asked = True
        return super().loss(*given)


def _student(job: PassJob, source: Live, training: Training, treatment: Treatment, what: str, seconds: float) -> Student:
    torch.manual_seed(_SEED)
    model = made_by(job.student, "--student")
    outcome = training.run(model, treatment, what=what, seconds=seconds)
    if isinstance(treatment, _Asked) and not treatment.asked:
        raise InvalidInput(
            f"--train {job.train} never called callbacks.loss()",
            hint="take the loss from callbacks.loss(output, target, inputs): the teacher speaks there",
        )
    if outcome.best is not None:
        return Student(model=model, what="best metric", reached=outcome.best, told=outcome.told)
    return Student(model=model, what="agreement with the source", reached=_agreement(source, model), told=outcome.told)


def _agreement(source: Live, model: Any) -> float:
    """How alike the first answers to the search's rows are: the share of equal best classes, or minus the mean squared error."""
    answered, wanted = source.answers(model)[0], next(iter(source.rows.outputs.values()))
    if wanted.ndim > 1 and wanted.shape[-1] > 1:
        return float((answered.argmax(-1) == wanted.argmax(-1)).mean())
    return -float(np.square(np.subtract(answered, wanted, dtype=np.float64)).mean())
