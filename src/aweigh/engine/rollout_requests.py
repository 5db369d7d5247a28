"""Rollouts as clients of a server of one process ask for them: whoever asks is told later. `engine.rollouts` does them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aweigh.core.errors import AweighError, InternalError
from aweigh.core.rollout import Plan
from aweigh.engine.rollouts import Rollouts

_LOG: Final = logging.getLogger("aweigh.rollout")
Done = Callable[[Any, AweighError | None], None]


class Requested:
    """Rollouts as clients ask for them: whoever asks is told later. `check` raises where clients may change nothing."""

    def __init__(self, rollouts: Rollouts, check: Callable[[], None]) -> None:
        self._rollouts = rollouts
        self._check = check
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, plan: Plan, done: Done) -> None:
        """Raises Denied."""
        self._check()
        self._start(self._rollouts.begin(plan), done)

    def promote(self, name: str, done: Done) -> None:
        """Raises Denied."""
        self._check()
        self._start(self._rollouts.promote(name), done)

    def rollback(self, name: str, done: Done) -> None:
        """Raises Denied."""
        self._check()
        self._start(self._rollouts.rollback(name), done)

    def reports(self, name: str, done: Done) -> None:
        self._start(self._rollouts.reports(name), done)

    def _start(self, work: Coroutine[Any, Any, Any], done: Done) -> None:
        task = asyncio.ensure_future(_told(work, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _told(work: Coroutine[Any, Any, Any], done: Done) -> None:
    try:
        outcome = await work
    except AweighError as error:
        done(None, error)
    except Exception:  # noqa: BLE001  # the request boundary: a client waits for an answer
        _LOG.exception("a rollout failed")
        done(None, InternalError("the server failed to do this", hint="the server's log has more"))
    else:
        done(outcome, None)
