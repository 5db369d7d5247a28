"""The wire between a parent and its isolated child: length-prefixed frames over a socket. Used by both sides; imports nothing heavy.

A frame is 8 bytes little-endian length of a msgpack message, the message, then the raw buffers whose sizes the message tells.
Must never trust a length that the other side sent: every one is held to a limit before memory is taken for it.
"""

import select
import socket
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from aweigh.core.errors import InvalidFile, TooLarge

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
MAX_BUFFERS_BYTES: Final = 4 * 1024 * 1024 * 1024
_PREFIX_BYTES: Final = 8
_GATHER: Final = 512
_COPY_BELOW_BYTES: Final = 64 * 1024

Buffer = bytes | bytearray | memoryview


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What a child may use."""

    memory_bytes: int = 4096 * 1024 * 1024
    """Address space (RLIMIT_AS); 0 leaves it open."""
    timeout_s: float = 600.0
    """Wall-clock time of a one-shot call, of a worker's start, and of a request that brings no deadline of its own."""
    network: bool = False
    """False takes the network away where the system allows it."""
    threads: int = 1
    """Threads that numeric libraries (OpenMP, OpenBLAS, MKL) may start."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Parent to child, first and once: what to run, with what, under which caps."""

    target: str
    argument: msgspec.Raw
    caps: Caps
    parent: int
    paths: tuple[str, ...] = ()


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Child to parent: the caps hold; `network_off` says whether the network is really gone."""

    network_off: bool


class Step(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Child to parent: progress."""

    step: str
    done: int = 0
    total: int = 0


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Child to parent: the result (of a call), or the header of an answer followed by `buffers` (of a request)."""

    result: msgspec.Raw
    buffers: tuple[int, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Child to parent: an `AweighError.as_dict()`."""

    error: dict[str, Any]


class OutOfMemory(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Child to parent: MemoryError under the cap."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Parent to worker: a header, followed by `buffers`."""

    header: msgspec.Raw
    buffers: tuple[int, ...] = ()


FromChild = Started | Step | Done | Failed | OutOfMemory


def _encode_hook(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a {type(value).__name__} does not cross to a child process")


def _decode_hook(kind: type, value: object) -> object:
    if kind is object:
        return value
    if issubclass(kind, Path):
        return Path(str(value))
    raise NotImplementedError(f"a {kind.__name__} does not cross from another process")


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
FROM_CHILD: Final = msgspec.msgpack.Decoder(FromChild)
START: Final = msgspec.msgpack.Decoder(Start)
REQUEST: Final = msgspec.msgpack.Decoder(Request)


def encode(value: object) -> msgspec.Raw:
    """A struct or JSON-like value (paths too) as msgpack."""
    return msgspec.Raw(_ENCODER.encode(value))


def decode(raw: Buffer, kind: Any) -> Any:
    """The value back as `kind`. Raises msgspec.ValidationError."""
    return msgspec.msgpack.decode(raw, type=kind, dec_hook=_decode_hook)


class Channel:
    """One end of the socket. Not for two threads at once. Raises ConnectionError when the other side is gone, TimeoutError at a deadline.

    `peer` is a process file descriptor of the other side: its death is seen even while a process that it forked keeps the socket open.
    """

    def __init__(self, connection: socket.socket, peer: int | None = None) -> None:
        self._socket = connection
        self._socket.settimeout(0)
        self._peer = peer

    def close(self) -> None:
        self._socket.close()

    def send(self, message: object, buffers: Sequence[Buffer] = (), *, deadline: float | None = None) -> None:
        """Send one frame; `deadline` is a time of `monotonic()`."""
        body = _ENCODER.encode(message)
        parts: list[Buffer] = [len(body).to_bytes(_PREFIX_BYTES, "little"), body, *buffers]
        if sum(len(part) for part in parts) < _COPY_BELOW_BYTES:
            parts = [b"".join(parts)]
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            try:
                sent = self._socket.sendmsg(views[:_GATHER])
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
                continue
            while views and sent >= len(views[0]):
                sent -= len(views.pop(0))
            if views and sent:
                views[0] = views[0][sent:]

    def receive(self, *, deadline: float | None = None) -> bytearray:
        """The next message, undecoded. Raises TooLarge for a false length."""
        size = int.from_bytes(self._exactly(_PREFIX_BYTES, deadline), "little")
        if size > MAX_MESSAGE_BYTES:
            raise TooLarge(f"a message of {size} bytes between processes: at most {MAX_MESSAGE_BYTES} are taken")
        return self._exactly(size, deadline)

    def receive_buffers(self, sizes: Sequence[int], *, deadline: float | None = None) -> list[bytearray]:
        """The raw buffers after a message; writable, so that arrays over them are."""
        if any(size < 0 for size in sizes):
            raise InvalidFile(f"a negative buffer length between processes: {min(sizes)}")
        if sum(sizes) > MAX_BUFFERS_BYTES:
            raise TooLarge(f"buffers of {sum(sizes)} bytes between processes: at most {MAX_BUFFERS_BYTES} are taken")
        return [self._exactly(size, deadline) for size in sizes]

    def _exactly(self, size: int, deadline: float | None) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        at = 0
        while at < size:
            try:
                got = self._socket.recv_into(view[at:])
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            if not got:
                raise ConnectionError("the other process closed the channel")
            at += got
        return data

    def _wait(self, event: int, deadline: float | None) -> None:
        left_s = None if deadline is None else deadline - monotonic()
        if left_s is not None and left_s <= 0:
            raise TimeoutError("no time left")
        poll = select.poll()
        poll.register(self._socket, event)
        if self._peer is not None:
            poll.register(self._peer, select.POLLIN)
        ready = dict(poll.poll(None if left_s is None else left_s * 1000 + 1))
        if ready and self._socket.fileno() not in ready:
            raise ConnectionError("the other process has ended")
