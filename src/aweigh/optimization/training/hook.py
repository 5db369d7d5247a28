"""The hook for a person's own training code: what `--train module:function` is called with. Knows no framework.

The function trains as it always does, and tells of each step and each epoch; what a pass must do meanwhile is done there.
"""

import importlib
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol

import numpy as np

from aweigh.core.errors import AweighError, InvalidInput, MissingLibrary
from aweigh.core.protocols import Progress, quiet
from aweigh.core.tensors import Tensor
from aweigh.optimization.calibration import rows_and_answers
from aweigh.optimization.passing import PassJob

PATIENCE: Final = 30
"""Epochs without progress after which training ends: longer than metrics of few rows stand still while the rate of learning falls."""
_ENDLESS: Final = 10**9
NEAR: Final = 1e-3
"""Share of an answer's largest number by which the live model may differ from the package."""
_INPUT, _OUTPUT = "input/", "output/"
_SAID: Final = 300
_DATA: Final = "data"


class StopTraining(Exception):  # it is no error
    """Training has gone far enough: raised by `Callbacks`, caught by whoever called the training code. Let it pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that the search has, by name: what goes in, and what the source's variant answered. Not the data to train with, which is the person's own."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class Treatment:
    """What a pass does to the model while it learns. This one does nothing."""

    def step(self) -> None:
        """After an optimiser step."""

    def epoch(self, done: int) -> None:
        """After an epoch; `done` of them have been."""

    @property
    def settled(self) -> bool:
        """Whether the model is in the form that it is to keep: what it reached before does not count."""
        return True

    def loss(self, output: Any, target: Any, inputs: Any, own: Callable[[Any, Any], Any]) -> Any:
        """The loss of a batch; `own` is the person's."""
        return own(output, target)


class Keeper(Protocol):
    """Keeps what a model has learnt."""

    def keep(self) -> None:
        """Remember the weights as they are."""
        ...

    def restore(self) -> None:
        """Back to what was kept."""
        ...


@dataclass(slots=True, kw_only=True)
class Callbacks:
    """What the training code calls. `patience` may be set: so many epochs without a better metric end the training."""

    treatment: Treatment
    keeper: Keeper
    deadline: float
    """Of `monotonic()`."""
    own: Callable[[Any, Any], Any]
    """The loss where the person names none."""
    progress: Progress = quiet
    what: str = "training"
    patience: int = PATIENCE
    steps: int = 0
    epochs: int = 0
    metrics: list[float] = field(default_factory=list)
    best: float = -math.inf
    stopped: str = ""
    _since: int = 0

    def step(self, loss: Any = None) -> None:
        """After each optimiser step. Raises StopTraining where the time is over, InvalidInput for a loss that is no number."""
        self.steps += 1
        value = 0.0 if loss is None else _number(loss)
        if not math.isfinite(value):
            raise InvalidInput(f"the loss is {value} at step {self.steps}", hint="train with a smaller learning rate")
        self.treatment.step()
        if monotonic() > self.deadline:
            self._stop(f"the time was over after {self.epochs} epochs")

    def epoch(self, metric: Any = None) -> None:
        """After each epoch, with a metric of which more is better: the weights of the best epoch are kept. Raises StopTraining where it no longer grows."""
        self.epochs += 1
        settled = self.treatment.settled
        self.treatment.epoch(self.epochs)
        value = None if metric is None else _number(metric)
        if value is not None:
            self.metrics.append(value)
        self.progress(f"{self.what}: epoch {self.epochs}" + ("" if value is None else f", metric {value:.4g}"), self.epochs)
        if value is None or not settled:
            return
        self._since += 1
        if value > self.best:
            self._since = 0
        if value >= self.best:  # of two that are as good, the one that learnt for longer
            self.best = value
            self.keeper.keep()
        elif self._since >= self.patience:
            self._stop(f"no progress over {self.patience} epochs")

    def loss(self, output: Any, target: Any, inputs: Any = None, own: Callable[[Any, Any], Any] | None = None) -> Any:
        """The loss of a batch: `own(output, target)`, by default cross-entropy for classes and the squared error for numbers; with a teacher, also how far `output` is
        from the teacher's answer to `inputs` (a tensor, or a tuple or dict of them)."""
        return self.treatment.loss(output, target, inputs, own or self.own)

    def finish(self) -> None:
        """Back to the best epoch. Called by whoever called the training code."""
        if math.isfinite(self.best):
            self.keeper.restore()

    @property
    def reached(self) -> float | None:
        """The best metric that was told of; None where none was."""
        return self.best if math.isfinite(self.best) else max(self.metrics, default=None)

    def told(self) -> str:
        """How training went, in words."""
        metric = "" if self.reached is None else f", metric {self.reached:.4g}"
        return f"{self.what}: {self.epochs} epochs, {self.steps} steps{metric}" + (f"; {self.stopped}" if self.stopped else "")

    def _stop(self, why: str) -> None:
        self.stopped = why
        raise StopTraining(why)


def _number(value: Any) -> float:
    """Of a tensor: what it holds, without what it was computed from."""
    return float(value.detach() if hasattr(value, "detach") else value)


class _Nothing:
    """Keeps nothing."""

    def keep(self) -> None:
        """There is nothing to go back to."""

    restore = keep


def without_passes(own: Callable[[Any, Any], Any]) -> Callbacks:
    """Callbacks that change nothing, for the same code where it trains from the start: `loss` is `own`."""
    return Callbacks(treatment=Treatment(), keeper=_Nothing(), deadline=math.inf, own=own, patience=_ENDLESS)


def rows_of(job: PassJob) -> Rows:
    """The rows that the job offers. Raises Unsupported, InvalidFile."""
    inputs, outputs = rows_and_answers(job)
    return Rows(inputs=inputs, outputs=outputs)


def far(one: Tensor, other: Tensor, near: float = NEAR) -> bool:
    """Whether two answers of the same shape are not the same for all purposes of training."""
    if one.dtype.kind != "f":
        return bool((one != other).mean() > near) if one.size else False
    largest = float(np.nanmax(np.abs(other), initial=1.0, where=np.isfinite(other)))
    return not np.allclose(one, other, rtol=0, atol=near * largest, equal_nan=True)


def named(option: str, text: str) -> Callable[..., Any]:
    """What `module:function` names. Raises InvalidInput and MissingLibrary that say which option."""
    name, colon, attribute = text.partition(":")
    if not colon or not name or not attribute.isidentifier():
        raise InvalidInput(
            f"{option} {text!r} is not of the form module:function",
            hint=f"for example {option} training:{'train' if option == '--train' else 'make'}",
        )
    try:
        found = getattr(importlib.import_module(name), attribute, None)
    except ModuleNotFoundError as error:
        missing = error.name or name
        raise MissingLibrary(
            f"{option} {text}: there is no module '{missing}' where it is run",
            hint="run from the folder that holds your module"
            if missing == name.partition(".")[0]
            else "install aweigh[train] where your training libraries are, and it is run there; or save the data as .npz and read that",
        ) from error
    except Exception as error:
        raise failed(f"{option} {text} cannot be imported", error) from error
    if not callable(found):
        raise InvalidInput(f"{option} {text}: the module has no function '{attribute}'")
    function: Callable[..., Any] = found
    return function


def data_of(function: Callable[..., Any], rows: Rows) -> Any:
    """What the training code is given as `data`: what the function `data` beside it makes of the rows, else the rows."""
    own = getattr(importlib.import_module(function.__module__), _DATA, None)
    return own(rows) if callable(own) else rows


def called(text: str, function: Callable[..., Any], model: Any, callbacks: Callbacks, data: Any) -> Any:
    """What the training code returns, None where it was stopped; the best epoch is back afterwards. Raises InvalidInput that tells the line at which it failed."""
    try:
        returned = function(model, callbacks, data)
    except StopTraining:
        returned = None
    except (AweighError, MemoryError):
        raise
    except Exception as error:
        raise failed(f"--train {text} failed", error) from error
    if not callbacks.steps:
        raise InvalidInput(
            f"--train {text} never called callbacks.step()", hint="call callbacks.step(loss=loss) after each optimizer.step()"
        )
    callbacks.finish()
    return returned


def failed(what: str, error: Exception) -> InvalidInput:
    """What a person's code raised, with the last of its lines that is not a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename and "/aweigh/" not in frame.filename and not frame.filename.startswith("<")
    ]
    place = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    return InvalidInput(f"{what}{place}: {type(error).__name__}: {str(error)[:_SAID]}")
