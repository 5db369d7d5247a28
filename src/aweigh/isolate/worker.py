"""`Worker`: a long-lived capped child that answers requests of tensors, one at a time. Used by sessions that run outside the server's process.

A dead child fails the request it held; the next request starts a new one, after a pause that grows while it keeps dying.
"""

import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any

from aweigh.core.errors import AweighError, ChildDied, Unavailable
from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate.backoff import Backoff
from aweigh.isolate.channel import Caps
from aweigh.isolate.lane import Lane
from aweigh.isolate.oneshot import DEFAULT_CAPS
from aweigh.isolate.process import HERE, Home
from aweigh.isolate.serving import Opening


class Worker:
    """A child that holds something open. `target` ("module:function") takes `argument` and returns `(header, tensors) -> (header, tensors)`. `subject` says in
    messages whose child it is, `home` the environment it runs in.

    The first child starts in the constructor, so that what cannot be opened fails there. Thread-safe: requests wait for one another.
    """

    def __init__(
        self,
        target: str,
        argument: object,
        *,
        caps: Caps = DEFAULT_CAPS,
        paths: Sequence[str] = (),
        keeps_inputs: bool = True,
        subject: str = "",
        home: Home = HERE,
    ) -> None:
        self._opening = Opening(target=target, argument=argument, keeps_inputs=keeps_inputs)
        self._caps = caps
        self._subject = subject or f"'{target}'"
        self._paths = tuple(paths)
        self._home = home
        self._lock = threading.Lock()
        self._closed = False
        self._backoff = Backoff()
        self._lane: Lane | None = self.start()

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None between its death and the next request."""
        lane = self._lane
        return lane.pid if lane else None

    @property
    def network_off(self) -> bool:
        """Whether the network was really taken away from the child."""
        lane = self._lane
        return lane is not None and lane.network_off

    def start(self) -> Lane:
        """One more child of the same target, that belongs to the caller. Raises what opening raises, ChildDied, DeadlineExceeded."""
        return Lane(self._opening, caps=self._caps, paths=self._paths, subject=self._subject, home=self._home)

    def detach(self) -> Lane | None:
        """Hand the running child over to the caller; the next request would start another."""
        with self._lock:
            lane, self._lane = self._lane, None
            return lane

    def request(
        self, header: dict[str, Any], tensors: Tensors, *, deadline_s: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Ask and wait, `deadline_s` seconds at most (default: the cap's). Raises what the target raised, ChildDied, DeadlineExceeded, Unavailable."""
        limit_s = self._caps.timeout_s if deadline_s is None else deadline_s
        deadline = monotonic() + limit_s
        if not self._lock.acquire(timeout=max(0.0, limit_s)):
            raise Unavailable(f"{self._subject} was busy with other requests for {limit_s:g} s", hint="try again, or raise the deadline")
        try:
            lane = self._running()
            try:
                lane.ask(header, tensors)
            except ConnectionError as error:
                raise self._lost(lane, error, limit_s) from error
            try:
                answer = lane.wait(deadline)
            except BaseException as error:  # after half an exchange the lane cannot be trusted
                raise self._lost(lane, error, limit_s) from error
            self._backoff.answered()
        finally:
            self._lock.release()
        if isinstance(answer, AweighError):
            raise answer
        return answer

    def close(self) -> None:
        """End the child; a request in flight fails with ChildDied. May be called twice."""
        self._closed = True
        lane = self._lane
        if lane is not None:
            lane.kill()
        with self._lock:
            if self._lane is not None:
                self._lane.close()
                self._lane = None

    def _running(self) -> Lane:
        if self._closed:
            raise Unavailable(f"the session of {self._subject} is closed")
        if self._lane is not None and self._lane.dead:  # between two requests: nobody's request is to blame
            self._lane.close()
            self._lane = None
        if self._lane is None:
            wait_s = self._backoff.wait_s(monotonic())
            if wait_s > 0:
                raise Unavailable(
                    f"the process of {self._subject} died {self._backoff.deaths} times in a row and starts again in {wait_s:.1f} s: "
                    f"{self._backoff.why}",
                    hint="try again then; if it goes on, look at what the model does on these inputs",
                    retry_after_s=round(wait_s, 1),
                )
            try:
                self._lane = self.start()
            except AweighError as error:
                self._backoff.died(error, monotonic())
                raise
        return self._lane

    def _lost(self, lane: Lane, error: BaseException, limit_s: float) -> BaseException:
        """What became of a child whose exchange failed; it is ended."""
        why: BaseException = lane.lost(error, limit_s=limit_s)
        if not isinstance(error, Exception):  # KeyboardInterrupt of the caller: not the child's doing
            why = error
        elif self._closed:
            why = ChildDied(f"the session of {self._subject} was closed")
        self._lane = None
        self._backoff.died(why, monotonic())
        return why
