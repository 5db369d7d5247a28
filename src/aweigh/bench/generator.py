"""One process of the load generator: opens its connections, lets a pacing send, records what comes back. Knows no report and no plot."""

import asyncio
import contextlib
import gc
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, Final, TypeVar

from aweigh.bench.answers import Checker, decode_grpc, decode_json
from aweigh.bench.grpc import SLOTS, GrpcConnection, call_block, call_body
from aweigh.bench.http1 import Answer, Connection, HttpConnection, Ticket, request_bytes
from aweigh.bench.pacing import ClosedLoop, OpenLoop, Pacing
from aweigh.bench.plan import Job, Load, Target
from aweigh.bench.recorder import Recorder, Tally
from aweigh.bench.schedule import due_times
from aweigh.bench.timer import make_timer
from aweigh.core.errors import AweighError, FileMissing, InvalidSetting, Refused, Unavailable, Unsupported

OPEN_CONNECTIONS: Final = 64
GRPC_CONNECTIONS: Final = 4
_MOST_CHOSEN: Final = 1024
"""Connections that are chosen by themselves."""
_CONNECT_S: Final = 5.0
_AT_ONCE: Final = 64
"""Connections opened at a time: more would overflow the server's backlog."""
_RETRY_S: Final = 0.05
_LOOK_S: Final = 0.1
_REQUEST_ID: Final = b"\r\nx-request-id:"
T = TypeVar("T")


async def generate(job: Job, ready: Callable[[], Awaitable[float]]) -> Tally:
    """Run one process's part of a load. `ready` is called once connected and tells the time (`monotonic`) to begin. Raises Unavailable."""
    generator = Generator(job)
    try:
        await generator.connect()
        return await generator.run(await ready())
    finally:
        generator.close()


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """On uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def own_share(total: int, job: Job) -> int:
    """This process's part of a whole number."""
    processes = job.load.processes
    return total // processes + (job.share < total % processes)


def connections_of(load: Load, target: Target) -> int:
    """How many connections a load takes, of all processes. Raises InvalidSetting for a number that cannot carry it."""
    users = load.concurrency
    if target.protocol == "grpc":
        most = users if users else load.connections
        return max(load.processes, min(load.connections or GRPC_CONNECTIONS, most or GRPC_CONNECTIONS))
    if users and load.connections not in {0, users}:
        raise InvalidSetting(
            f"{load.connections} connections for {users} users: over HTTP/1.1 each user of a closed loop has a connection of its own",
            hint="leave --connections out, or use --rate for an open loop",
        )
    return max(load.processes, users or load.connections or OPEN_CONNECTIONS)


def enough_connections(target: Target, rate: float, limit_s: float) -> int:
    """For an open loop whose answers may take up to `limit_s`: twice what is under way then on average (Little's law)."""
    at_once = 2 * rate * limit_s
    if target.protocol == "grpc":
        return max(GRPC_CONNECTIONS, min(OPEN_CONNECTIONS, math.ceil(at_once / SLOTS)))
    return max(OPEN_CONNECTIONS, min(_MOST_CHOSEN, math.ceil(at_once)))


class Generator:
    """See the module. Owner of the connections."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._target = job.target
        self._loop = asyncio.get_running_loop()
        is_grpc = job.target.protocol == "grpc"
        self._checker = Checker(job.questions, decode_grpc if is_grpc else decode_json)
        self._block = call_block(job.target) if is_grpc else b""
        self._requests = [call_body(question) if is_grpc else request_bytes(job.target, question) for question in job.questions]
        self._tls = tls_context(job.target)
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._recorder = Recorder(0.0, 0.0)
        self._pacing: Pacing | None = None
        self._in_flight = self._peak = 0
        self._closing = False
        self._finished: asyncio.Future[None] = self._loop.create_future()

    async def connect(self) -> None:
        """Open every connection. Raises Unavailable, Refused, Unsupported."""
        wanted = own_share(connections_of(self._job.load, self._target), self._job)
        for _ in range(0, wanted, _AT_ONCE):
            await asyncio.gather(*(self._open(len(self._connections) + at) for at in range(min(_AT_ONCE, wanted - len(self._connections)))))
        users, slots = own_share(self._job.load.concurrency, self._job), sum(connection.slots for connection in self._connections)
        if slots < users:
            raise Unsupported(
                f"the server takes {slots} calls at a time on {wanted} connections, and there are {users} users",
                hint="give more --connections",
            )

    async def _open(self, number: int) -> Connection:
        def make() -> HttpConnection | GrpcConnection:
            if self._target.protocol == "http":
                return HttpConnection(self, self._requests)
            return GrpcConnection(self, self._block, self._requests, self._slots(number))

        name = self._target.host if self._tls else None
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, made = await self._loop.create_connection(
                    make, self._target.host, self._target.port, ssl=self._tls, server_hostname=name
                )
                if isinstance(made, GrpcConnection):
                    await made.opened
        except (OSError, ssl.SSLError, TimeoutError) as error:
            raise connect_error(self._target, error) from error
        if not made.slots:
            raise Unsupported(f"{self._target.address} does not speak gRPC (HTTP/2)", hint="an http:// URL asks over REST")
        self._connections.add(made)
        self._peak = max(self._peak, len(self._connections))
        return made

    def _slots(self, number: int) -> int:
        """Calls at a time on a gRPC connection: the users are spread evenly, an open loop takes what the server allows."""
        users = own_share(self._job.load.concurrency, self._job)
        wanted = own_share(connections_of(self._job.load, self._target), self._job)
        return users // wanted + (number % wanted < users % wanted) if users else SLOTS

    async def run(self, start: float) -> Tally:
        """Warm up, measure, wait for stragglers."""
        load = self._job.load
        begin, end = start + load.warmup_s, start + load.warmup_s + load.duration_s
        self._recorder = Recorder(begin, end)
        self._loop.call_at(begin, self._note_cpu, -1)
        self._loop.call_at(end, self._note_cpu, 1)
        watch = self._loop.create_task(self._watch(end))
        gc.collect()
        gc.disable()  # a pause of this process would count as the server's
        try:
            await self._pace(start, end)
        finally:
            gc.enable()
            watch.cancel()
        return self._recorder.tally(self._peak)

    async def _pace(self, start: float, end: float) -> None:
        load, recorder = self._job.load, self._recorder
        await asyncio.sleep(start - monotonic())
        if not load.is_open:
            closed = ClosedLoop(end, recorder, len(self._requests), self._send)
            self._pacing = closed
            self._offer()
            closed.begin()
            await self._finished
            return
        opened = OpenLoop(due_times(load, self._job.share, start, end), recorder, len(self._requests), self._send)
        self._pacing = opened
        timer = opened.timer = make_timer(self._loop, opened.tick)
        self._offer()
        opened.tick()
        try:
            await self._finished
        finally:
            timer.close()

    def _offer(self) -> None:
        for connection in list(self._connections):
            self._offer_one(connection)

    def _offer_one(self, connection: Connection) -> None:
        for _ in range(connection.slots):
            if self._pacing is not None:
                self._pacing.free(connection)

    def _note_cpu(self, sign: int) -> None:
        self._recorder.cpu_s += sign * time.process_time()
        if sign > 0:
            self._recorder.outstanding = self._in_flight + (self._pacing.waiting() if self._pacing else 0)

    async def _watch(self, end: float) -> None:
        """Give up what took too long; see when all is done."""
        timeout_s = self._job.load.timeout_s
        while True:
            await asyncio.sleep(min(_LOOK_S, timeout_s / 4))
            now = monotonic()
            for connection in list(self._connections):
                connection.expire(now - timeout_s)
            if self._pacing is not None:
                self._pacing.expire(now - timeout_s, now)
                if self._pacing.over and not self._in_flight and not self._pacing.waiting() and now > end and not self._finished.done():
                    self._finished.set_result(None)

    def _send(self, connection: Connection, ticket: Ticket) -> None:
        self._in_flight += 1
        self._recorder.bytes_out += connection.ask(ticket)

    def answered(self, connection: Connection, ticket: Ticket, answer: Answer) -> None:
        now = monotonic()
        recorder = self._recorder
        self._in_flight -= 1
        recorder.bytes_in += len(answer.head) + len(answer.body)
        if not answer.ok:
            kind = f"grpc {answer.status}" if self._target.protocol == "grpc" else f"status {answer.status}"
            recorder.failed(kind, ticket.due, answer.message or answer.body.decode("utf-8", "replace"))
        elif self._checker.needed and (wrong := self._checker.difference(ticket.question, answer.body)):
            recorder.failed("wrong answer", ticket.due, wrong)
        else:
            recorder.answered(ticket.due, ticket.sent, now)
            if now - ticket.due > recorder.slow_s:
                recorder.note_slow(ticket.due, now, _request_id(answer.head))
        if connection.slots and self._pacing is not None:
            self._pacing.free(connection)

    def broken(self, connection: Connection, ticket: Ticket, kind: str, detail: str) -> None:
        self._in_flight -= 1
        if kind == "timeout":
            self._recorder.timed_out(ticket.due, monotonic(), kind, detail)
        else:
            self._recorder.failed(kind, ticket.due, detail)
        if connection.slots and self._pacing is not None:
            self._pacing.free(connection)

    def lost(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            if not self._closing:
                task = self._loop.create_task(self._open_again(len(self._connections)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _open_again(self, number: int) -> None:
        while self._pacing is None or not self._pacing.over or self._pacing.waiting():
            try:
                connection = await self._open(number)
            except AweighError as error:
                if self._pacing is not None:
                    self._pacing.refused(monotonic(), error.message)
                await asyncio.sleep(_RETRY_S)
            else:
                self._recorder.reconnects += 1
                self._offer_one(connection)
                return

    def close(self) -> None:
        """Close every connection; nothing is sent any more."""
        self._closing = True
        if self._pacing is not None:
            self._pacing.stop()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.close()


def tls_context(target: Target) -> ssl.SSLContext | None:
    """What TLS trusts. Raises FileMissing, InvalidSetting for the file of authorities."""
    if not target.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=target.ca_file or None)
    except FileNotFoundError as error:
        raise FileMissing(f"there is no file {target.ca_file}", hint="check ca_file") from error
    except (OSError, ssl.SSLError) as error:
        raise InvalidSetting(f"{target.ca_file} holds no authorities: {error}", hint="ca_file is a PEM file") from error
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["h2" if target.protocol == "grpc" else "http/1.1"])
    return context


def connect_error(target: Target, error: Exception) -> AweighError:
    """Why no connection came about."""
    if isinstance(error, ssl.SSLError):
        return Refused(f"TLS with {target.address} failed: {error}", hint="check the certificate; ca_file names a private authority")
    what = f"no answer within {_CONNECT_S:g} s" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or error
    return Unavailable(f"cannot connect to {target.address}: {what}", hint="is the server running, and is this its port?")


def _request_id(head: bytes) -> str:
    at = head.lower().find(_REQUEST_ID)
    return head[at + len(_REQUEST_ID) : head.find(b"\r\n", at + 2)].strip().decode("latin-1") if at >= 0 else ""
