"""Turn batching, for models that run inline: requests decoded in one turn of the event loop run as one call at the turn's end.

No timer: a request that is alone waits for nothing. What fails together is tried one by one, so that a bad row fails alone. Called by the
dialects on the event loop, each with its own way to carry many requests at once.
"""

import abc
import asyncio
import logging
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

from aweigh.core.errors import AweighError, Cancelled, DeadlineExceeded, InternalError, Kind
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.pipelines.plan import note_callers
from aweigh.engine.queue import Caller

if TYPE_CHECKING:
    from aweigh.engine.model import LoadedModel

_LOG = logging.getLogger("aweigh.engine")
CallerT = TypeVar("CallerT", bound=Caller)
ItemT = TypeVar("ItemT")


class Carrier(abc.ABC, Generic[CallerT, ItemT]):
    """How a dialect carries many requests of one model at once. An item is what it keeps of a request until the turn ends."""

    @abc.abstractmethod
    def feeds(self, items: list[ItemT]) -> Tensors:
        """All rows as one set of tensors, in the items' order. Raises AweighError where they do not make one that the model takes."""

    @abc.abstractmethod
    def reply(self, callers: list[CallerT], items: list[ItemT], outputs: list[Tensor]) -> None:
        """Answer everyone. Whatever it raises, each is then answered alone; one that was answered already takes no second answer."""

    @abc.abstractmethod
    def reply_alone(self, caller: CallerT, item: ItemT) -> None:
        """Run and answer one request the ordinary way, its failures included. Must not raise."""

    @abc.abstractmethod
    def fail(self, caller: CallerT, item: ItemT, error: AweighError) -> None:
        """Answer a request that was not run. Must not raise."""


class Turn(Generic[CallerT, ItemT]):
    """The requests of one model and one carrier in this turn of the loop."""

    __slots__ = ("_callers", "_carrier", "_items", "_max_rows", "_model", "_rows", "_timed")

    def __init__(self, model: "LoadedModel", carrier: Carrier[CallerT, ItemT]) -> None:
        self._model = model
        self._carrier = carrier
        self._max_rows = model.turn_rows
        self._callers: list[CallerT] = []
        self._items: list[ItemT] = []
        self._rows = 0
        self._timed = False
        """Whether a caller has a deadline."""

    def add(self, caller: CallerT, item: ItemT, rows: int) -> None:
        """Let a request wait for the end of the turn, or until the batch is full; it is answered through the carrier."""
        if self._rows + rows > self._max_rows:
            self._run()
        callers = self._callers
        if not callers:
            self._model.statistics.turns += 1
            asyncio.get_running_loop().call_soon(self._run)
        callers.append(caller)
        self._items.append(item)
        self._rows += rows
        if caller.deadline is not None:
            self._timed = True

    def _run(self) -> None:
        callers, items = self._callers, self._items
        if not callers:  # they ran already, because the batch was full
            return
        self._callers, self._items, self._rows = [], [], 0
        model, carrier = self._model, self._carrier
        statistics = model.statistics
        statistics.turns -= 1
        if self._timed or True in [caller.cancelled for caller in callers]:
            callers, items = self._wanted(callers, items)
            if not callers:
                return
        if model.steps:
            note_callers(model, callers)
        started = perf_counter()
        try:
            feeds = carrier.feeds(items)
            decoded = perf_counter()
            outputs = model.run(feeds)
            rows = len(next(iter(feeds.values())))
            if {len(output) for output in outputs} != {rows}:
                raise InternalError(f"{rows} rows went into the model, and not as many came out")
        except AweighError:
            self._one_by_one(callers, items)
            return
        except Exception:  # noqa: BLE001  # whatever a session raises belongs to the request that it raises it for
            _LOG.warning(
                "requests failed together and run one by one", exc_info=True, extra={"model": model.name, "requests": len(callers)}
            )
            self._one_by_one(callers, items)
            return
        ended = perf_counter()
        statistics.decoding_s += decoded - started
        statistics.last = ended
        statistics.together(ended - decoded, rows, len(callers))
        if model.observe is not None:
            model.observe(feeds, outputs, ended - decoded)
        try:
            carrier.reply(callers, items, outputs)
        except Exception as error:  # noqa: BLE001  # as above: what cannot be encoded is its own request's failure, and nobody may wait for ever
            if not isinstance(error, AweighError):
                _LOG.warning("answers failed together and are given one by one", exc_info=True, extra={"model": model.name})
            self._one_by_one(callers, items)
        statistics.encoding_s += perf_counter() - ended

    def _one_by_one(self, callers: list[CallerT], items: list[ItemT]) -> None:
        for caller, item in zip(callers, items, strict=True):
            self._carrier.reply_alone(caller, item)

    def _wanted(self, callers: list[CallerT], items: list[ItemT]) -> tuple[list[CallerT], list[ItemT]]:
        """Those that are still waited for; the others are answered here."""
        self._timed = False
        now = monotonic()
        kept: list[tuple[CallerT, ItemT]] = []
        for caller, item in zip(callers, items, strict=True):
            if caller.cancelled:
                self._model.statistics.failure(Kind.CANCELLED)
                self._carrier.fail(caller, item, Cancelled("the client left before its request was started"))
            elif caller.deadline is not None and now > caller.deadline:
                self._model.statistics.failure(Kind.TIMEOUT)
                self._carrier.fail(
                    caller, item, DeadlineExceeded("the request's deadline passed before it was started", hint="allow more time")
                )
            else:
                kept.append((caller, item))
        return [caller for caller, _ in kept], [item for _, item in kept]
