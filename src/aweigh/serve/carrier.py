"""What the dialects' carriers of a turn have in common: answering one request alone, and one that was not run."""

from collections.abc import Callable
from typing import TypeVar

from aweigh.core.errors import AweighError
from aweigh.engine.batching.turn import Carrier
from aweigh.serve.message import AnyResponse, Request
from aweigh.serve.outcome import answer_with, failure_of

ItemT = TypeVar("ItemT")


class RequestCarrier(Carrier[Request, ItemT]):
    """`alone` runs one request the ordinary way, and raises what that raises."""

    __slots__ = ("_alone",)

    def __init__(self, alone: Callable[[Request], AnyResponse]) -> None:
        self._alone = alone

    def reply_alone(self, caller: Request, item: ItemT) -> None:
        answer_with(caller, lambda: self._alone(caller))

    def fail(self, caller: Request, item: ItemT, error: AweighError) -> None:
        caller.reply(caller, failure_of(error, caller))
