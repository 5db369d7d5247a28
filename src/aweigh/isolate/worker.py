"""`Worker`: a long-lived capped child that answers requests of tensors, one at a time. Used by sessions that run outside the server's process.

A dead child fails the request it held; the next request starts a new one, after a pause that grows while it keeps dying.
"""

import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import msgspec

from aweigh.core.errors import AweighError, ChildDied, InternalError, Unavailable
from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate.channel import FROM_CHILD, Caps, Done, Failed, OutOfMemory, Request, Started, encode
from aweigh.isolate.oneshot import DEFAULT_CAPS, raised
from aweigh.isolate.process import ChildProcess
from aweigh.isolate.serving import SERVE, Header, Opening
from aweigh.isolate.tensorbuffers import describe, restore

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
_HEADER: Final = msgspec.msgpack.Decoder(Header)


class Worker:
    """A child that holds something open. `target` ("module:function") takes `argument` and returns `(header, tensors) -> (header, tensors)`.

    The first child starts in the constructor, so that what cannot be opened fails there. Thread-safe: requests wait for one another.
    """

    def __init__(self, target: str, argument: object, *, caps: Caps = DEFAULT_CAPS, paths: Sequence[str] = ()) -> None:
        self._opening = Opening(target=target, argument=argument)
        self._caps = caps
        self._paths = tuple(paths)
        self._lock = threading.Lock()
        self._closed = False
        self._deaths = 0
        self._not_before = 0.0
        self._why_dead = ""
        self.network_off = False
        """Whether the network was really taken away from the child."""
        self._child: ChildProcess | None = self._start()

    @property
    def pid(self) -> int | None:
        """Process id of the running child; None between its death and the next request."""
        child = self._child
        return child.pid if child else None

    def request(
        self, header: dict[str, Any], tensors: Tensors, *, deadline_s: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Ask and wait, `deadline_s` seconds at most (default: the cap's). Raises what the target raised, ChildDied, DeadlineExceeded, Unavailable."""
        limit_s = self._caps.timeout_s if deadline_s is None else deadline_s
        deadline = monotonic() + limit_s
        descriptions, buffers = describe(tensors)
        request = Request(header=encode(Header(said=header, tensors=descriptions)), buffers=tuple(len(part) for part in buffers))
        if not self._lock.acquire(timeout=max(0.0, limit_s)):
            raise Unavailable(
                f"'{self._opening.target}' was busy with other requests for {limit_s:g} s", hint="try again, or raise the deadline"
            )
        try:
            child = self._running()
            try:
                child.channel.send(request, buffers, deadline=deadline)
                answer = self._receive(child, deadline)
            except (ConnectionError, TimeoutError) as error:
                raise self._lost(child, error, limit_s) from error
            except BaseException as error:
                self._give_up(child, error)
                raise
            self._deaths = 0
            child.trim_noise()
        finally:
            self._lock.release()
        if isinstance(answer, Failed | OutOfMemory):
            raise raised(child, answer)
        return answer

    def close(self) -> None:
        """End the child; a request in flight fails with ChildDied. May be called twice."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            if self._child is not None:
                self._child.close()
                self._child = None

    def _receive(self, child: ChildProcess, deadline: float) -> tuple[dict[str, Any], dict[str, Tensor]] | Failed | OutOfMemory:
        try:
            message = FROM_CHILD.decode(child.channel.receive(deadline=deadline))
            if isinstance(message, Failed | OutOfMemory):
                return message
            if not isinstance(message, Done):
                raise InternalError(f"the child of '{self._opening.target}' sent a {type(message).__name__} where an answer was due")
            buffers = child.channel.receive_buffers(message.buffers, deadline=deadline)
            header = _HEADER.decode(message.result)
            return header.said, restore(header.tensors, buffers)
        except msgspec.DecodeError as error:
            raise InternalError(f"the child of '{self._opening.target}' answered what was not expected: {error}") from error

    def _running(self) -> ChildProcess:
        if self._closed:
            raise Unavailable(f"the session of '{self._opening.target}' is closed")
        if self._child is not None and self._child.dead:  # between two requests: nobody's request is to blame
            self._child.close()
            self._child = None
        if self._child is None:
            wait_s = self._not_before - monotonic()
            if wait_s > 0:
                raise Unavailable(
                    f"the process of '{self._opening.target}' died {self._deaths} times in a row and starts again in {wait_s:.1f} s: {self._why_dead}",
                    hint="try again then; if it goes on, look at what the model does on these inputs",
                    retry_after_s=round(wait_s, 1),
                )
            self._child = self._start()
        return self._child

    def _start(self) -> ChildProcess:
        child = ChildProcess(SERVE, self._opening, self._caps, self._paths)
        deadline = monotonic() + self._caps.timeout_s
        try:
            child.channel.send(child.start, deadline=deadline)
            while True:
                message = FROM_CHILD.decode(child.channel.receive(deadline=deadline))
                if isinstance(message, Started):
                    self.network_off = message.network_off
                elif isinstance(message, Done):
                    return child
                elif isinstance(message, Failed | OutOfMemory):
                    raise raised(child, message)
        except (ConnectionError, TimeoutError) as error:
            raise self._lost(child, error, self._caps.timeout_s) from error
        except BaseException as error:
            self._give_up(child, error)
            raise

    def _lost(self, child: ChildProcess, error: BaseException, limit_s: float) -> AweighError:
        """What became of a child whose channel failed."""
        why = child.why(error, limit_s=limit_s)
        if self._closed:
            why = ChildDied(f"the session of '{self._opening.target}' was closed")
        self._give_up(child, why)
        return why

    def _give_up(self, child: ChildProcess, why: BaseException) -> None:
        """End the child: after half an exchange its channel cannot be trusted."""
        child.close()
        self._child = None
        self._deaths += 1
        self._why_dead = str(why)
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (self._deaths - 2)) if self._deaths > 1 else 0.0
        self._not_before = monotonic() + pause_s
