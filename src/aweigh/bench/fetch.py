"""One request and its whole answer, before and after a load: what the server says of itself, and whether a question is a good one."""

import asyncio
from typing import Final

import msgspec

from aweigh.bench.generator import connect_error, run_loop, tls_context
from aweigh.bench.grpc import GrpcConnection, call_block, call_body
from aweigh.bench.http1 import Answer, Connection, HttpConnection, Ticket, request_bytes
from aweigh.bench.plan import Question, Target
from aweigh.core.errors import DeadlineExceeded, Unavailable, Unsupported

SERVICE: Final = "/inference.GRPCInferenceService"


class _Waiting:
    """Owner of a connection that is asked once."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answered(self, connection: Connection, ticket: Ticket, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def broken(self, connection: Connection, ticket: Ticket, kind: str, detail: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(Unavailable(f"{kind}: {detail}", hint="is the URL that of an inference server?"))

    def lost(self, connection: Connection) -> None:
        if not self.answer.done():
            self.answer.set_exception(Unavailable("the server closed the connection without an answer"))


def fetch(target: Target, question: Question | None, *, timeout_s: float) -> Answer:
    """Ask once: POST (or call) with a question, GET without. Raises Unavailable, DeadlineExceeded, Unsupported; any status is an answer."""
    return run_loop(_fetch(target, question, timeout_s))


def rest(target: Target, path: str) -> Target:
    """Another route of the same server."""
    return msgspec.structs.replace(target, path=path)


def method(target: Target, name: str) -> Target:
    """Another method of the same gRPC service."""
    return msgspec.structs.replace(target, path=f"{SERVICE}/{name}")


async def _fetch(target: Target, question: Question | None, timeout_s: float) -> Answer:
    waiting = _Waiting()
    connection: HttpConnection | GrpcConnection | None = None
    try:
        async with asyncio.timeout(timeout_s):
            connection = await _open(target, question, waiting)
            connection.ask(Ticket(0.0, 0.0, 0))
            return await waiting.answer
    except TimeoutError as error:
        raise DeadlineExceeded(f"{target.address}{target.path} did not answer within {timeout_s:g} s", hint="raise --timeout") from error
    finally:
        if connection is not None:
            connection.close()
        if waiting.answer.done() and not waiting.answer.cancelled():
            waiting.answer.exception()  # looked at: a connection that ends after its answer is no event


async def _open(target: Target, question: Question | None, waiting: _Waiting) -> HttpConnection | GrpcConnection:
    def make() -> HttpConnection | GrpcConnection:
        asked = question or Question(body=b"")
        if target.protocol == "http":
            return HttpConnection(waiting, [request_bytes(target, asked, method="POST" if question else "GET")])
        return GrpcConnection(waiting, call_block(target), [call_body(asked)])

    tls = tls_context(target)
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            make, target.host, target.port, ssl=tls, server_hostname=target.host if tls else None
        )
    except TimeoutError:
        raise
    except OSError as error:
        raise connect_error(target, error) from error
    if isinstance(connection, GrpcConnection):
        await connection.opened
        if not connection.slots:
            raise Unsupported(f"{target.address} does not speak gRPC (HTTP/2)", hint="an http:// URL asks over REST")
    return connection
