"""What supervisor and workers say to each other: frames of a 4-byte length and a msgpack message over a socket pair. Never a pickle."""

import asyncio
import contextlib
import socket
from typing import Any, Final

import msgspec

from aweigh.core.errors import InternalError
from aweigh.core.rollout import Plan, Report, Seen
from aweigh.serve.overview import ModelFacts, Overview

_MAX_BYTES: Final = 16 * 1024 * 1024
_PREFIX: Final = 4


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model that is to be served."""

    name: str
    number: int


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker, first and once: how to serve. `settings` are a `Settings`, complete."""

    settings: msgspec.Raw
    variant: str
    place: int
    """Which slab of the board is its own."""
    slabs: int
    open: bool
    """Whether to take connections before its models are loaded: there is nobody else to answer."""


class Become(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: serve exactly these, in this order, and try out what the plans say; answered by Up or Failed."""

    models: tuple[Version, ...]
    generation: int
    plans: tuple[Plan, ...] = ()


class Open(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: take connections; `started` when the whole server may be called ready."""

    started: bool


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: load a version beside what is served, and hold it until Commit or Abort. `first`: what the bare name means makes way before."""

    number: int
    model: Version
    first: bool = False


class Commit(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: what was prepared takes over its name, or is served `beside` the other versions, for the bare name too where it is the `default`."""

    number: int
    beside: bool = False
    default: bool = False


class Abort(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: let go of what was prepared."""

    number: int


class Remove(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: take a name out of service."""

    number: int
    name: str


class Look(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: tell what the two versions of a rollout have done."""

    number: int
    plan: Plan
    stable: int


class Relabel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: the store's aliases have changed."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: the answer to its Ask."""

    number: int
    error: dict[str, Any] | None = None
    overview: Overview | None = None
    reports: tuple[Report, ...] = ()


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: answer what is under way and end. `alone` when the others go on: then the server as a whole stays ready."""

    alone: bool


class Up(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: it serves what Become said."""

    models: tuple[ModelFacts, ...]
    generation: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: it cannot serve what Become said."""

    error: dict[str, Any]


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: a client wants the whole server to load, unload or roll out a model, or to tell how its workers or rollouts are."""

    number: int
    verb: str
    name: str = ""
    version: int | None = None
    plan: Plan | None = None


class Alarm(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: what is tried out under a name has failed or strayed."""

    name: str


class Did(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: an order is done, or failed; of a Look, what was seen, if it serves both versions."""

    number: int
    error: dict[str, Any] | None = None
    seen: Seen | None = None
    errors: tuple[str, ...] = ()
    """The last messages of requests that the candidate failed."""


Order = Prepare | Commit | Abort | Remove | Look
"""What is answered by a Did."""
ToWorker = Begin | Become | Open | Order | Relabel | Answer | Drain
FromWorker = Up | Failed | Ask | Did | Alarm

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_TO_WORKER: Final = msgspec.msgpack.Decoder(ToWorker)
_FROM_WORKER: Final = msgspec.msgpack.Decoder(FromWorker)


class Link:
    """One end of the socket pair, on an event loop. What is sent before `connect` goes out with it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._early: list[bytes] = []

    async def connect(self) -> None:
        """Take the socket into the running loop."""
        self._connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        self._reader, self._writer = await asyncio.open_connection(sock=self._connection)
        self._writer.writelines(self._early)
        self._early.clear()

    def send(self, message: ToWorker | FromWorker) -> None:
        """Send, or do nothing where the other side is gone: whoever reads sees that."""
        body = _ENCODE(message)
        frame = len(body).to_bytes(_PREFIX, "little") + body
        if self._writer is None:
            self._early.append(frame)
            return
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write(frame)

    async def from_worker(self) -> FromWorker | None:
        """The next message; None when the worker is gone."""
        body = await self._next()
        return None if body is None else _FROM_WORKER.decode(body)

    async def to_worker(self) -> ToWorker | None:
        """The next message; None when the supervisor is gone."""
        body = await self._next()
        return None if body is None else _TO_WORKER.decode(body)

    async def flush(self) -> None:
        """Wait until what was sent is on its way."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                await self._writer.drain()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        else:
            self._connection.close()

    async def _next(self) -> bytes | None:
        if self._reader is None:
            raise InternalError("the link to a worker was read before it was connected")
        try:
            size = int.from_bytes(await self._reader.readexactly(_PREFIX), "little")
            if size > _MAX_BYTES:
                raise InternalError(f"a message of {size} bytes between supervisor and worker")
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return None
