"""Which models may answer a request, in order: the first choice, and those that stand in for it when it fails by the server's fault.

Made by `routing` for names whose requests are dealt out; requests of all other names have none. On the event loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from aweigh.core.errors import AweighError, DeadlineExceeded, Kind
from aweigh.core.tensors import Tensor
from aweigh.engine.queue import Caller

if TYPE_CHECKING:
    from aweigh.engine.model import LoadedModel

NOT_THE_CALLERS: Final = frozenset({Kind.INTERNAL, Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.OVERLOADED})
"""Failures that another model may answer."""
_NOT_THE_MODELS: Final = frozenset({Kind.CANCELLED, Kind.UNAUTHENTICATED, Kind.DENIED})
"""Failures that have nothing to do with who was asked. Whether any other is the fault of one that is tried out, the next one knows."""


class Failure(NamedTuple):
    """A model failed the request of that id."""

    model: "LoadedModel"
    error: AweighError
    request: bytes
    before: Kind | None
    """How the one that was asked before it had failed the same request; None where it was the first."""
    then: "LoadedModel | None"
    """Who is asked instead; None where nobody is."""


class Asker(Caller, Protocol):
    """A caller that a choice is made for, once; `chosen` keeps it."""

    chosen: "Choice | None"

    def header(self, name: bytes) -> bytes | None:
        """The value of a header or metadata entry, by its name in lower case."""
        ...


class Choice:
    """The models for one request. `patience_s`: how long one may take before the next is asked; 0 is no limit. `trial`: the first is tried out."""

    __slots__ = ("_at", "_before", "_models", "_patience_s", "_told", "_trial")

    def __init__(
        self,
        models: "Sequence[LoadedModel]",
        told: Callable[[Failure], None] | None = None,
        *,
        patience_s: float = 0.0,
        trial: bool = False,
    ) -> None:
        self._models = models
        self._told = told
        self._patience_s = patience_s
        self._trial = trial
        self._at = 0
        self._before: Kind | None = None
        """How the model before the one that answers now failed."""

    @property
    def model(self) -> "LoadedModel":
        """Who answers now."""
        return self._models[self._at]

    @property
    def patience_s(self) -> float:
        """How long who answers now may take; 0 where nobody else could, or there is no limit."""
        return self._patience_s if self._at + 1 < len(self._models) else 0.0

    def stand_in(self, error: AweighError, caller: Caller) -> bool:
        """Whether another model answers now, since this one failed with `error`; then it is `model`."""
        if error.kind in _NOT_THE_MODELS:
            return False
        then = self._next(error, caller)
        if self._told is not None:
            self._told(Failure(self.model, error, caller.id, self._before, then))
        if then is None:
            return False
        self._before = error.kind
        self._at += 1
        return True

    def _next(self, error: AweighError, caller: Caller) -> "LoadedModel | None":
        if error.kind not in NOT_THE_CALLERS and not (self._trial and self._at == 0):
            return None
        late = caller.deadline is not None and monotonic() > caller.deadline
        if caller.cancelled or late or self._at + 1 >= len(self._models) or self._models[self._at + 1].ended:
            return None
        return self._models[self._at + 1]


def patience_of(caller: Caller) -> float:
    """Seconds that the model that was chosen for a request may take, where another could answer; 0 for no limit."""
    chosen: Choice | None = getattr(caller, "chosen", None)
    return chosen.patience_s if chosen is not None else 0.0


class Attempt:
    """A request that is given up here, and not by its caller, when it is not answered in time; as a caller it has then left."""

    __slots__ = ("_caller", "_done", "_name", "_over", "_timer", "id", "priority")

    def __init__(self, caller: Caller, done: Callable[[list[Tensor] | None, AweighError | None], None], name: str) -> None:
        self._caller = caller
        self._done = done
        self._name = name
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self.id = caller.id
        self.priority = caller.priority

    @property
    def cancelled(self) -> bool:
        return self._over or self._caller.cancelled

    @property
    def deadline(self) -> float | None:
        return self._caller.deadline

    def begin(self, patience_s: float) -> None:
        """Somebody has taken it, and has so long from now on."""
        if not self._over:
            self._timer = asyncio.get_running_loop().call_later(patience_s, self._give_up, patience_s)

    def done(self, outputs: list[Tensor] | None, error: AweighError | None) -> None:
        """Pass on what came in time."""
        if not self._over:
            self._over = True
            if self._timer is not None:
                self._timer.cancel()
            self._done(outputs, error)

    def _give_up(self, patience_s: float) -> None:
        self._over = True
        self._done(None, DeadlineExceeded(f"model '{self._name}' did not answer within {patience_s * 1000:g} ms"))
