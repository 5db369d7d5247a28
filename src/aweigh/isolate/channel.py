"""The wire between a parent and its isolated child: length-prefixed frames over a socket. Used by both sides; imports nothing heavy.

A frame is 8 bytes little-endian length of a msgpack message, and the message. Tensors go another way: see `doorbell.py`.
Must never trust a length that the other side sent: every one is held to a limit before memory is taken for it.
"""

import select
import socket
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec

from aweigh.core.errors import InvalidInput, TooLarge

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
_PREFIX_BYTES: Final = 8

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
    """Child to parent: the result of a call; of a worker, that its target is open."""

    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Child to parent: an `AweighError.as_dict()`."""

    error: dict[str, Any]


class OutOfMemory(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Child to parent: MemoryError under the cap."""


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


def encode(value: object) -> msgspec.Raw:
    """A struct or JSON-like value (paths too) as msgpack. Raises InvalidInput for a text or path that is not UTF-8."""
    try:
        return msgspec.Raw(_ENCODER.encode(value))
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{error.object[:400]!r} is not UTF-8 and cannot be told to a child process", hint="give the file or folder another name"
        ) from error


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

    def send(self, message: object, *, deadline: float | None = None) -> None:
        """Send one frame; `deadline` is a time of `monotonic()`."""
        body = _ENCODER.encode(message)
        view = memoryview(len(body).to_bytes(_PREFIX_BYTES, "little") + body)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)

    def receive(self, *, deadline: float | None = None) -> bytearray:
        """The next message, undecoded. Raises TooLarge for a false length."""
        size = int.from_bytes(self._exactly(_PREFIX_BYTES, deadline), "little")
        if size > MAX_MESSAGE_BYTES:
            raise TooLarge(f"a message of {size} bytes between processes: at most {MAX_MESSAGE_BYTES} are taken")
        return self._exactly(size, deadline)

    def send_files(self, descriptors: Sequence[int], *, deadline: float | None = None) -> None:
        """Hand open files over; the other side gets descriptors of its own."""
        self._wait(select.POLLOUT, deadline)
        socket.send_fds(self._socket, [b"f"], list(descriptors))

    def receive_files(self, count: int, *, deadline: float | None = None) -> list[int]:
        """The descriptors that `send_files` handed over."""
        self._wait(select.POLLIN, deadline)
        data, descriptors, _, _ = socket.recv_fds(self._socket, 1, count, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        if not data or len(descriptors) != count:
            raise ConnectionError("the other process closed the channel")
        return descriptors

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
