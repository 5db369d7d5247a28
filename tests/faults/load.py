"""Load on a server in trouble: requests at a rate (open loop) or of so many users (closed loop), of which each one's end is kept.

The connections are those of aweigh's own load test. Runs on a thread of the test, with an event loop of its own.
"""

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Self

from tests.faults.asking import Asking
from tests.faults.outcomes import Outcome, Outcomes
from tests.serving.served import Served

from aweigh.bench.generator import run_loop
from aweigh.bench.grpc import GrpcConnection, call_block, call_body
from aweigh.bench.http1 import Answer, HttpConnection, Ticket, request_bytes

GRPC_CONNECTIONS = 4
USER_PAUSE_S = 0.01
"""How long a user of a closed loop waits after a request that was not answered rightly."""


class Load(Outcomes):
    """Asks from `__enter__` to `__exit__`, which waits for what is under way. `rate` makes an open loop, `users` a closed one."""

    def __init__(
        self,
        server: Served,
        asking: Asking | None = None,
        *,
        rate: float = 0.0,
        users: int = 0,
        protocol: str = "http",
        timeout_s: float = 10.0,
        connections: int = 64,
    ) -> None:
        super().__init__()
        most = GRPC_CONNECTIONS if protocol == "grpc" else users or connections
        self._clients = _Clients(self.all, asking or Asking(), protocol, server.port, timeout_s, most)
        self._rate, self._users, self._patience_s = rate, users, timeout_s + 15
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.stopping.set()
        self._thread.join(self._patience_s)
        assert not self._thread.is_alive(), "requests are under way for ever"
        if self._failure is not None:
            raise self._failure

    @property
    def connections_lost(self) -> int:
        """Connections that the server ended."""
        return self._clients.lost_connections

    def _run(self) -> None:
        try:
            run_loop(self._clients.run(self._rate, self._users))
        except BaseException as error:
            self._failure = error


class _Clients:
    """The connections, and what waits for one."""

    def __init__(self, ends: list[Outcome], asking: Asking, protocol: str, port: int, timeout_s: float, most: int) -> None:
        target, question = asking.target(protocol, port), asking.question(protocol)
        self.stopping = threading.Event()
        self.lost_connections = 0
        self._ends, self._asking, self._protocol, self._timeout_s, self._most = ends, asking, protocol, timeout_s, most
        self._address = (target.host, target.port)
        self._block = call_block(target) if protocol == "grpc" else b""
        self._bytes = [call_body(question) if protocol == "grpc" else request_bytes(target, question)]
        self._waiting: deque[float] = deque()
        """When the requests were due that have no connection yet."""
        self._free: deque[Any] = deque()
        """Connections, each as often as it has room for a request."""
        self._open: set[Any] = set()
        self._opening = 0
        self._in_flight = 0
        self._users = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, users: int) -> None:
        self._users = users > 0
        watch = asyncio.ensure_future(self._watch())
        try:
            await (self._at_a_rate(rate) if rate else self._as_users(users))
            await _until(lambda: not self._in_flight and not self._waiting)
        finally:
            watch.cancel()
            for task in list(self._tasks):
                task.cancel()
            for connection in list(self._open):
                connection.close()
            await asyncio.sleep(0.01)

    async def _at_a_rate(self, rate: float) -> None:
        due, chance = monotonic(), random.Random(5)
        while not self.stopping.is_set():
            now = monotonic()
            while due <= now:
                self._waiting.append(due)
                due += chance.expovariate(rate)
            self._send()
            await asyncio.sleep(max(0.0005, min(0.05, due - monotonic())))

    async def _as_users(self, users: int) -> None:
        self._waiting.extend([monotonic()] * users)
        self._send()
        await _until(self.stopping.is_set)
        self._waiting.clear()

    async def _watch(self) -> None:
        """Give up what took too long."""
        while True:
            await asyncio.sleep(0.05)
            before = monotonic() - self._timeout_s
            for connection in list(self._open):
                connection.expire(before)
            while self._waiting and self._waiting[0] <= before:
                due = self._waiting.popleft()
                self._end(Outcome("timeout", due, due, monotonic(), detail="no connection was free"))

    def _send(self) -> None:
        """Give what waits to connections that are free, and open further ones."""
        while self._waiting and self._free:
            connection = self._free.popleft()
            if connection.slots and connection in self._open:
                self._in_flight += 1
                connection.ask(Ticket(self._waiting.popleft(), monotonic(), 0))
        while len(self._waiting) > self._opening and len(self._open) + self._opening < self._most:
            self._opening += 1
            task = asyncio.ensure_future(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(min(5.0, self._timeout_s)):
                _, connection = await asyncio.get_running_loop().create_connection(self._make, *self._address)
                if isinstance(connection, GrpcConnection):
                    await connection.opened
        except (OSError, TimeoutError) as error:
            self._opening -= 1
            if self._waiting:
                due = self._waiting.popleft()
                self._end(Outcome("unconnected", due, monotonic(), monotonic(), detail=repr(error)))
            return
        self._opening -= 1
        if connection.slots:
            self._open.add(connection)
            self._free.extend([connection] * connection.slots)
        self._send()

    def _make(self) -> Any:
        return GrpcConnection(self, self._block, self._bytes) if self._protocol == "grpc" else HttpConnection(self, self._bytes)

    def answered(self, connection: Any, ticket: Ticket, answer: Answer) -> None:
        """An answer came, of whatever kind."""
        self._in_flight -= 1
        self._end(self._judged(ticket, answer))
        self._again(connection)

    def _judged(self, ticket: Ticket, answer: Answer) -> Outcome:
        due, sent, now, status = ticket.due, ticket.sent, monotonic(), answer.status
        if not answer.ok:
            again = b"\nretry-after:" in answer.head.lower() or status == "UNAVAILABLE"
            detail = answer.message or answer.body.decode("utf-8", "replace")[:300]
            return Outcome("refused", due, sent, now, status=status, retry_after=again, detail=detail)
        try:
            version = self._asking.version(self._protocol, answer.body)
        except (ValueError, KeyError) as wrong:
            return Outcome("wrong", due, sent, now, status=status, detail=repr(wrong)[:300])
        return Outcome("ok", due, sent, now, status=status, version=version)

    def broken(self, connection: Any, ticket: Ticket, kind: str, detail: str) -> None:
        """No answer will come."""
        self._in_flight -= 1
        if kind == "connection lost":
            kind = "unprocessed" if "went away" in detail else "closed" if detail.startswith("closed by the server") else "reset"
        elif kind == "reset" and detail.endswith("code 7"):
            kind = "unprocessed"
        self._end(Outcome(kind, ticket.due, ticket.sent, monotonic(), detail=detail))
        self._again(connection)

    def lost(self, connection: Any) -> None:
        """A connection is gone."""
        self.lost_connections += 1
        self._open.discard(connection)
        self._send()

    def _again(self, connection: Any) -> None:
        if connection.slots and connection in self._open:
            self._free.append(connection)
        self._send()

    def _end(self, outcome: Outcome) -> None:
        self._ends.append(outcome)
        if self._users and not self.stopping.is_set():
            asyncio.get_running_loop().call_later(0.0 if outcome.kind == "ok" else USER_PAUSE_S, self._ask_again)

    def _ask_again(self) -> None:
        if not self.stopping.is_set():
            self._waiting.append(monotonic())
            self._send()


async def _until(true: Callable[[], bool]) -> None:
    while True:
        if true():
            return
        await asyncio.sleep(0.01)


def capacity(server: Served, asking: Asking | None = None, *, users: int = 8, seconds: float = 2.0, protocol: str = "http") -> float:
    """Right answers a second to so many users who each wait for theirs."""
    with Load(server, asking, users=users, protocol=protocol) as load:
        time.sleep(0.3)
        before, began = load.right, monotonic()
        time.sleep(seconds)
        found = (load.right - before) / (monotonic() - began)
    assert found > 0, load.told()
    return found
