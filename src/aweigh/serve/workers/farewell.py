"""What clients of a worker that is no more are told: the connections that it had in custody are answered, handed to another worker, or closed.

Used by the supervisor, on its event loop. Must never wait for a client.
"""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Final

from aweigh.core.errors import AweighError, ChildDied, DeadlineExceeded
from aweigh.serve.status import json_error
from aweigh.serve.workers.keeper import HELD, IDLE, Keeper

_LOG: Final = logging.getLogger("aweigh.supervisor")
_LINGER_S: Final = 0.5
"""How long an answered connection stays open: closed at once, what its client still sends would reset it, and the answer would be lost."""
_REASONS: Final = {503: b"Service Unavailable", 504: b"Gateway Timeout"}


def last_words(why: str, *, hung: bool) -> bytes:
    """The answer to a request that a worker held: 504 where it hung, 503 where it died. Either way nobody else has begun it."""
    error: AweighError
    if hung:
        error = DeadlineExceeded(f"the worker that held this request hung and was killed: {why}", hint="what this request asks may be why")
    else:
        error = ChildDied(f"the worker that held this request ended: {why}", hint="try again: another worker answers")
    response = json_error(error, code=error.code, hint=error.hint)
    extra = b"".join(b"%b: %b\r\n" % each for each in response.headers)
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n%b\r\n"
    return head % (response.status, _REASONS[response.status], len(response.body), extra) + response.body


def part(keeper: Keeper, others: Sequence[Keeper], answer: bytes) -> None:
    """Let a dead worker's connections go: to `others` by turns where nothing is under way, else with an answer or without."""
    ends: Counter[str] = Counter()
    for at, (connection, verdict, traffic) in enumerate(keeper.end()):
        if verdict == IDLE and _adopted(connection, traffic.sent, others, at):
            ends["adopted"] += 1
            connection.close()
        elif verdict == HELD or (verdict == IDLE and traffic.unread):
            ends["answered"] += 1
            _answer(connection, answer)
        else:
            ends["closed"] += 1
            connection.close()
    if ends:
        _LOG.warning("a worker's connections were taken care of", extra={name: ends[name] for name in ("answered", "adopted", "closed")})


def _adopted(connection: socket.socket, sent: int, others: Sequence[Keeper], at: int) -> bool:
    return any(others[(at + further) % len(others)].adopt(connection, sent) for further in range(len(others)))


def _answer(connection: socket.socket, answer: bytes) -> None:
    connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
    with contextlib.suppress(OSError):
        connection.send(answer)
        connection.shutdown(socket.SHUT_WR)
    asyncio.get_running_loop().call_later(_LINGER_S, _close, connection)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65_536):
            pass
    connection.close()
