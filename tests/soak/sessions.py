"""The clients of the soak: connections that send many requests at once, leave when it pleases them, and compare every byte they get."""

import asyncio
import dataclasses
import itertools
import random
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from tests.serving.kit import PREFACE
from tests.serving.raw_http2 import raw_frame
from tests.soak.pool import OPEN_WINDOWS, VARYING, Call, Plain

SESSION_S: Final = 60
_LAST: Final = b"GET /v2/health/live HTTP/1.1\r\nHost: soak\r\nX-Request-Id: the-last\r\nConnection: close\r\n\r\n"
_LAST_ANSWER: Final = b"x-request-id: the-last\r\n"
_WEIGHTS: Final = {"flat": 60, "binary": 12, "words": 3, "nested": 2, "large": 0.02, "raw": 100, "stream": 5, "typed": 2}
_RARE: Final = 0.5
"""How often a kind is sent that is not among them: most of the time goes to what is answered most."""

_INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclasses.dataclass(slots=True)
class Tally:
    """What came of it."""

    sent: int = 0
    """Requests that were sent whole."""
    compared: int = 0
    """Answers that came whole and were compared."""
    left: int = 0
    """Connections that the client left at a random byte, and streams that it reset."""
    sessions: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)


class Mix:
    """Draws requests by weight."""

    def __init__(self, pool: list[Any], chance: random.Random) -> None:
        self._pool = pool
        counts: dict[str, int] = {}
        for each in pool:
            counts[each.kind] = counts.get(each.kind, 0) + 1
        total, self._cumulative = 0.0, list[float]()
        for each in pool:
            total += _WEIGHTS.get(each.kind, _RARE) / counts[each.kind]
            self._cumulative.append(total)
        self._chance = chance

    def draw(self, count: int) -> list[Any]:
        return self._chance.choices(self._pool, cum_weights=self._cumulative, k=count)


class _Connection(asyncio.Protocol):
    """Sends pieces, one per turn of the loop, and keeps what comes. Leaves after `leave_after` bytes of answers."""

    def __init__(self, pieces: list[bytes], leave_after: int, then: str, done: Callable[[bytes], bool]) -> None:
        self._pieces = pieces
        self._leave_after = leave_after
        self._then = then
        self._done = done
        self.got: list[bytes] = []
        self.size = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._send(0)

    def _send(self, at: int) -> None:
        if self.transport.is_closing():
            return
        if at < len(self._pieces):
            self.transport.write(self._pieces[at])
            if at + 1 < len(self._pieces) or self._then:
                asyncio.get_running_loop().call_soon(self._send, at + 1)
        elif self._then == "half":
            self.transport.write_eof()
        elif self._then == "leave":
            self.leave()

    def leave(self) -> None:
        """Without a goodbye: the other side gets a reset."""
        found = self.transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.got.append(data)
        self.size += len(data)
        if self.size >= self._leave_after >= 0:
            self.leave()
        elif self._done(data):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


async def _exchange(port: int, connection: _Connection) -> None:
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    await asyncio.wait_for(connection.over, SESSION_S)


def _in_pieces(data: bytes, chance: random.Random) -> list[bytes]:
    """As one, or cut at random places."""
    if chance.random() < 0.8:
        return [data]
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(chance.randrange(1, 40)))})
    return [data[begin:end] for begin, end in itertools.pairwise(cuts)]


async def plain_session(port: int, mix: Mix, chance: random.Random, tally: Tally) -> None:
    """Requests of HTTP/1.1, one behind the other without waiting."""
    asked: list[Plain] = mix.draw(chance.randrange(1, 500))
    way = chance.random()
    data = b"".join([each.data for each in asked])
    leave_after, then = -1, ""
    if way < 0.82:
        data += _LAST
    elif way < 0.94:
        data, then = data[: chance.randrange(1, len(data))], "half" if way < 0.88 else "leave"
    else:
        leave_after = chance.randrange(1, sum(len(each.answer) for each in asked))
    connection = _Connection(_in_pieces(data, chance), leave_after, then, lambda _: False)
    await _exchange(port, connection)
    tally.sessions += 1
    _judge_plain(asked, len(data), b"".join(connection.got), tally, complete=way < 0.82, half=then == "half")


def _judge_plain(asked: list[Plain], sent: int, got: bytes, tally: Tally, *, complete: bool, half: bool) -> None:
    expected = b"".join([each.answer for each in asked])
    answer = VARYING.sub(b"", got)
    if complete:
        tally.sent += len(asked)
        tally.compared += len(asked)
        if not answer.startswith(expected) or _LAST_ANSWER not in answer[len(expected) :]:
            tally.wrong.append(_difference(asked, answer))
        return
    tally.left += 1
    whole, at = 0, 0
    for each in asked:
        at += len(each.data)
        if at > sent:
            break
        whole += 1
    tally.sent += whole
    owed = sum(len(each.answer) for each in asked[:whole])
    if half:  # whoever closed its half is asked by interim answers whether it is there still (RFC 9110 section 15.2: to be skipped)
        answer = answer.replace(_INTERIM, b"")
    if half and not answer.startswith(expected[:owed]):
        tally.wrong.append("half closed: " + _difference(asked[:whole], answer))
        return
    compared, at = 0, 0
    for each in asked[:whole]:
        if len(answer) < at + len(each.answer):
            break
        at += len(each.answer)
        compared += 1
    tally.compared += compared
    if answer[:at] != expected[:at]:
        tally.wrong.append("left: " + _difference(asked, answer))


def _difference(asked: list[Plain], answer: bytes) -> str:
    at = 0
    for number, each in enumerate(asked):
        end = at + len(each.answer)
        if answer[at:end] != each.answer:
            return f"request {number} of {len(asked)} ({each.kind}): {answer[at : end + 200]!r}\n    where {each.answer!r} is right"
        at = end
    return f"{len(asked)} answers are right, then: {answer[at : at + 300]!r}"


class _Reader:
    """Takes frames apart: what came of each stream, and which of them have ended."""

    def __init__(self, waited_for: set[int]) -> None:
        self.waited_for = waited_for
        self.streams: dict[int, list[bytes]] = {}
        self.ended: set[int] = set()
        self.reset: set[int] = set()
        self.goodbye = b""
        self._rest = b""

    def feed(self, data: bytes) -> bool:
        """Whether every stream that is waited for has ended."""
        data = self._rest + data if self._rest else data
        at, size, streams = 0, len(data), self.streams
        while size - at >= 9:
            end = at + 9 + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if end > size:
                break
            kind, stream = data[at + 3], int.from_bytes(data[at + 5 : at + 9], "big")
            if kind <= 1:
                found = streams.get(stream)
                if found is None:
                    streams[stream] = [data[at + 9 : end]]
                else:
                    found.append(data[at + 9 : end])
                if data[at + 4] & 1:
                    self.ended.add(stream)
                    self.waited_for.discard(stream)
            elif kind == 3:
                self.reset.add(stream)
            elif kind == 7:
                self.goodbye = data[at + 9 : end]
            at = end
        self._rest = data[at:]
        return not self.waited_for


async def call_session(port: int, mix: Mix, chance: random.Random, tally: Tally) -> None:
    """Requests of HTTP/2: many streams at once, their frames shuffled, some of them reset."""
    asked: list[Call] = mix.draw(chance.randrange(1, 240))
    by_stream = {2 * at + 1: each for at, each in enumerate(asked)}
    frames, reset = _frames(by_stream, chance)
    data = b"".join((PREFACE, OPEN_WINDOWS, *frames))
    way = chance.random()
    leave_after, then, complete = -1, "", way < 0.86
    if not complete and way < 0.93:
        data, then = data[: chance.randrange(1, len(data))], "leave"
    elif not complete:
        leave_after = chance.randrange(1, 1 + sum(len(each.answer) for each in asked))
    reader = _Reader(set(by_stream) - reset)
    connection = _Connection(_in_pieces(data, chance), leave_after, then, reader.feed)
    await _exchange(port, connection)
    tally.sessions += 1
    tally.left += len(reset) + (not complete)
    _judge_calls(by_stream, reset, reader, tally, complete=complete)


def _frames(by_stream: dict[int, Call], chance: random.Random) -> tuple[list[bytes], set[int]]:
    """In groups: the headers of some streams, then their DATA in turns."""
    frames, reset, waiting = [], set[int](), list(by_stream.items())
    while waiting:
        group, waiting = waiting[: (size := chance.randrange(1, 9))], waiting[size:]
        left = []
        for stream, each in group:
            frames.append(raw_frame(1, 4, stream, each.block))
            pieces = [(stream, piece, at == len(each.pieces) - 1) for at, piece in enumerate(each.pieces)]
            if chance.random() < 0.02 and len(reset) < 90:
                reset.add(stream)
                pieces = pieces[: chance.randrange(len(pieces) + 1)]
            left.append(pieces)
        while left:
            at = chance.randrange(len(left))
            if left[at]:
                stream, piece, last = left[at].pop(0)
                frames.append(raw_frame(0, int(last), stream, piece))
            else:
                left.pop(at)
        frames += [raw_frame(3, 0, stream, (8).to_bytes(4, "big")) for stream, _ in group if stream in reset]
    return frames, reset


def _judge_calls(by_stream: dict[int, Call], reset: set[int], reader: _Reader, tally: Tally, *, complete: bool) -> None:
    for stream, each in by_stream.items():
        tally.sent += each.messages if complete and stream not in reset else 0
        answer = b"".join(reader.streams.get(stream, ()))
        if stream in reader.ended:
            tally.compared += each.messages
            right = answer == each.answer
        else:
            right = each.answer.startswith(answer) and not (complete and stream not in reset)
        if not right:
            said = f"stream {stream} of {len(by_stream)} ({each.kind}): {answer[:400]!r}\n    where {each.answer[:400]!r} is right"
            tally.wrong.append(f"{said}; goodbye {reader.goodbye!r}, reset {sorted(reader.reset)[:5]}")
            return
    if unknown := set(reader.streams) - set(by_stream):
        tally.wrong.append(f"answers on streams that were never opened: {sorted(unknown)[:5]}")
