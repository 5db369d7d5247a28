"""Names whose requests are dealt out: those that are being rolled out, and those with a model to fall back on. Asked by the data plane, on the event loop."""

import contextlib
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from aweigh.core.errors import AweighError, ModelNotFound, NotLoaded, NotReady
from aweigh.engine.choice import NOT_THE_CALLERS, Asker, Choice, Failure
from aweigh.engine.circuit import Circuit
from aweigh.engine.model import LoadedModel
from aweigh.engine.queue import Nobody
from aweigh.engine.statistics import ModelStatistics

Find = Callable[[str, str], LoadedModel]
Models = tuple[LoadedModel, ...]
ValueT = TypeVar("ValueT")


class Split(Protocol):
    """How the requests of a name that is rolled out are dealt to its two versions."""

    def order(self, caller: Asker) -> Models:
        """Who answers, and who does when that fails."""
        ...

    def tries(self, model: LoadedModel) -> bool:
        """Whether a model is tried out."""
        ...

    def failed(self, failure: Failure) -> None:
        """A model failed a request."""
        ...


@dataclasses.dataclass(slots=True, kw_only=True)
class Fallback:
    """Another model for a name, for when the name's own is down, fails, or takes longer than `patience_s` (0: however long it takes)."""

    other: str
    patience_s: float
    circuit: Circuit
    answers: list[int] = dataclasses.field(default_factory=lambda: [0, 0])
    """What the name's own model had answered when last looked at, and one that is tried before it: each is looked at in its turn."""
    statistics: ModelStatistics = dataclasses.field(default_factory=ModelStatistics)
    """Requests that the other model was asked for; several workers share the count."""

    def behind(self, own: Models, other: Models) -> Models:
        """The name's own models, if they are not known to be down, then the other."""
        if not own or not own[0].ready:
            self.statistics.answered(0.0, 0)
            return other
        first = int(len(own) > 1)
        if (answers := own[0].statistics.succeeded) != self.answers[first]:
            self.answers[first] = answers
            self.circuit.succeeded()
        if self.circuit.allows():
            return own + other
        self.statistics.answered(0.0, 0)
        return other or own

    def failed(self, failure: Failure, *, tried: bool) -> None:
        """A model failed a request; it says nothing of the circuit where it was only `tried` out, or is the last resort itself."""
        if failure.then is not None and failure.then.name == self.other:
            self.statistics.answered(0.0, 0)
        if failure.error.kind in NOT_THE_CALLERS and not tried and failure.model.name != self.other:
            self.circuit.failed()


class Routing:
    """What is dealt out now. Not `active` where nothing is, and nobody need ask."""

    __slots__ = ("_fallbacks", "_find", "_splits", "active")

    def __init__(self, find: Find) -> None:
        self._find = find
        self._splits: dict[str, Split] = {}
        self._fallbacks: dict[str, Fallback] = {}
        self.active = False

    def split(self, name: str, split: Split | None) -> None:
        """Deal the requests of a name out like this from now on; None: no longer."""
        _set(self._splits, name, split)
        self.active = bool(self._splits or self._fallbacks)

    def fall_back(self, name: str, fallback: Fallback | None) -> None:
        """Let another model stand in for a name's own from now on; None: no longer."""
        _set(self._fallbacks, name, fallback)
        self.active = bool(self._splits or self._fallbacks)

    def deals(self, name: str) -> bool:
        """Whether a name's requests go to several models, or it stands in for another name."""
        return self.active and (
            name in self._splits or name in self._fallbacks or any(each.other == name for each in self._fallbacks.values())
        )

    def count_with(self, of: Callable[[str, str], ModelStatistics]) -> None:
        """Count what falls back where all workers do: `of` gives the statistics of a name and a part of it."""
        for name, each in self._fallbacks.items():
            each.statistics = of(name, "fallback")

    def fallbacks(self) -> dict[str, Fallback]:
        """The names that have a model to fall back on."""
        return dict(self._fallbacks)

    def choose(self, name: str, version: str, caller: Asker) -> LoadedModel:
        """Who answers a request, the same each time it is asked for one. Raises ModelNotFound, NotReady."""
        if caller.chosen is None:
            split = None if version else self._splits.get(name)
            fallback = None if version else self._fallbacks.get(name)
            if split is None and fallback is None:
                return self._find(name, version)
            models = self._own(name, split, caller) if fallback is None else self._with_fallback(name, split, fallback, caller)
            caller.chosen = Choice(
                models,
                partial(_tell, split, fallback),
                patience_s=0.0 if fallback is None else fallback.patience_s,
                trial=split is not None and split.tries(models[0]),
            )
        return caller.chosen.model

    def _own(self, name: str, split: Split | None, caller: Asker) -> Models:
        return (self._find(name, ""),) if split is None else split.order(caller)

    def _with_fallback(self, name: str, split: Split | None, fallback: Fallback, caller: Asker) -> Models:
        try:
            other: Models = (self._find(fallback.other, ""),)
        except NotLoaded as error:
            _rouse(error)
            return self._own(name, split, caller)
        except (ModelNotFound, NotReady):
            return self._own(name, split, caller)
        try:
            own = self._own(name, split, caller)
        except NotLoaded:
            raise  # it is loaded, and the request waits: it would never be otherwise
        except (ModelNotFound, NotReady):
            own = ()
        return fallback.behind(own, other)


def _rouse(error: NotLoaded) -> None:
    """Have a model loaded that is asleep: the next request may need it, this one does not wait."""
    if error.wake is not None:
        with contextlib.suppress(AweighError):  # too many wait, or it failed a moment ago
            error.wake(Nobody(), lambda _: None)


def _set(known: dict[str, ValueT], name: str, value: ValueT | None) -> None:
    if value is None:
        known.pop(name, None)
    else:
        known[name] = value


def _tell(split: Split | None, fallback: Fallback | None, failure: Failure) -> None:
    if split is not None:
        split.failed(failure)
    if fallback is not None:
        fallback.failed(failure, tried=split is not None and split.tries(failure.model))
