"""INT8 by NNCF with the worst operations back in float: rows that it is not calibrated with tell which ones, by how like the source's their answers are."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import aweigh.optimization.irs.silence  # noqa: F401  # before nncf

import nncf  # isort: skip
import numpy as np

from aweigh.core.errors import Unsupported
from aweigh.core.tensors import Tensor
from aweigh.optimization.graphs.asking import Rows, read_rows
from aweigh.optimization.irs.eight import attempt, calibrating, said, singly, told
from aweigh.optimization.irs.models import Feeder, ask, compiled, made, read_model
from aweigh.optimization.likeness import likeness
from aweigh.optimization.passing import Made, PassJob

_LEAST_ROWS: Final = 20
"""Below, a share of them says nothing."""
_RANKED_ROWS: Final = 100
_TIE: Final = 1e-6
"""What errors of the numbers count beside the share of rows: they decide between groups that keep as many."""


def quantised_with_control(job: PassJob) -> Made:
    """Every second row calibrates, the others judge. Raises Unsupported where no mix of INT8 and float keeps what is asked."""
    rows = read_rows(job)
    calibrate, judging = _every_second(rows, 0), _every_second(rows, 1)
    if len(judging) < _LEAST_ROWS:
        raise Unsupported(f"{len(rows)} calibration rows are too few to judge by: {2 * _LEAST_ROWS} are needed")
    model = read_model(job)
    feeds = calibrating(job, model, calibrate)
    judge = Judge(job, model, judging)
    words = said(job, model)
    advanced = words.pop("advanced_parameters")
    changed = attempt(
        lambda: nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(feeds),
            nncf.Dataset(list(range(len(judge.feeds))), judge.feeds.__getitem__),
            judge.validate,
            max_drop=max(0.0, 1.0 - job.agreement),
            subset_size=len(feeds),
            advanced_quantization_parameters=advanced,
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=_RANKED_ROWS, num_ranking_workers=1
            ),
            **words,
        )
    )
    kept = judge.validate(compiled(changed, job.device.threads), range(len(judge.feeds)))[0]
    if kept < job.agreement - _TIE:
        raise Unsupported(f"no mix of INT8 and float keeps {job.measure} of {job.agreement:.3f}: the best found keeps {kept:.3f}")
    return made(
        changed,
        job,
        "int8",
        options={},
        notes=(*told(changed, len(feeds)), f"{job.measure} of {kept:.3f} on {len(judge.feeds)} further rows"),
    )


class Judge:
    """Rows and the source's answers to them; asks models with some of them."""

    def __init__(self, job: PassJob, model: Any, rows: Rows) -> None:
        feeder = Feeder(model, job.signature)
        self.feeds = [feeder.feed({name: tensor[at] for name, tensor in rows.inputs.items()}) for at in singly(job, rows)]
        self._job = job
        self._answers = [[output[at] for output in rows.outputs] for at in singly(job, rows)]

    def validate(self, model: Any, items: Iterable[int]) -> tuple[float, Sequence[float]]:
        """The metric of the rows of these numbers, and of each row how far its answers are from the source's, below nought."""
        at = list(items)
        given = [ask(model, self._job.signature, self.feeds[item]) for item in at]
        source = [np.concatenate(outputs) for outputs in zip(*(self._answers[item] for item in at), strict=True)]
        answers = [np.concatenate(outputs) for outputs in zip(*given, strict=True)]
        share = float(likeness(self._job.measure, self._job.signature, source, answers).value)
        errors = [_error(self._answers[item], one) for item, one in zip(at, given, strict=True)]
        return share - _TIE * min(1.0, float(np.mean(errors))), [-error for error in errors]


def _every_second(rows: Rows, first: int) -> Rows:
    return Rows(
        inputs={name: tensor[first::2] for name, tensor in rows.inputs.items()}, outputs=[output[first::2] for output in rows.outputs]
    )


def _error(source: Sequence[Tensor], given: Sequence[Tensor]) -> float:
    """The largest, over outputs of floats, of what was added to the answer beside the answer itself."""
    worst = 0.0
    for one, other in zip(source, given, strict=True):
        if one.dtype.kind == "f" and one.shape == other.shape:
            expected, actual = one.astype(np.float64), other.astype(np.float64)
            gap = float(np.linalg.norm(actual - expected)) / (float(np.linalg.norm(expected)) or 1.0)
            worst = max(worst, gap if np.isfinite(gap) else 1.0)
    return worst
