"""`Lane`: one capped child that holds something open, and the shared memory to ask it through. Used by `Worker`, and by the engine on its loop.

Asking and taking the answer are two steps that do not wait; whoever waits between them may be a thread or an event loop.
"""

import contextlib
import os
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import msgspec

from aweigh.core.errors import AweighError, InternalError, InvalidFile, TooLarge
from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate.channel import FROM_CHILD, Caps, Done, Failed, OutOfMemory, Started
from aweigh.isolate.doorbell import Ring, bell_and_ends
from aweigh.isolate.oneshot import raised
from aweigh.isolate.process import HERE, ChildProcess, Home
from aweigh.isolate.segment import FIRST_BYTES, Segment, room_for
from aweigh.isolate.serving import SERVE, Opening
from aweigh.isolate.tensorbuffers import Packer, Unpacker, write

Answer = tuple[dict[str, Any], dict[str, Tensor]]
_MAX_SEGMENT_BYTES: Final = 4 * 1024 * 1024 * 1024
_ANSWER: Final = int(Ring.ANSWER)
_RUN: Final = int(Ring.RUN)
_FAILED: Final = msgspec.msgpack.Decoder(Failed)
_KEPT_BYTES: Final = 8 * 1024 * 1024
"""Larger segments are given back by `trim`."""


class Lane:
    """One child. Starts in the constructor, which raises what opening the target raises, ChildDied, DeadlineExceeded.

    One request at a time: `ask`, wait until `bell.fd` is readable, `answer`. Both raise ConnectionError when the child is gone; `lost` then tells
    why, and the lane is of no more use.
    """

    def __init__(self, opening: Opening, *, caps: Caps, paths: Sequence[str] = (), subject: str = "", home: Home = HERE) -> None:
        self.network_off = False
        """Whether the network was really taken away from the child."""
        self._packer, self._unpacker = Packer(), Unpacker()
        self._limit = min(caps.memory_bytes or _MAX_SEGMENT_BYTES, _MAX_SEGMENT_BYTES)
        with contextlib.ExitStack() as failed, contextlib.ExitStack() as theirs:
            self.bell, ends = bell_and_ends()
            failed.callback(self.bell.close)
            for end in ends:
                theirs.callback(os.close, end)
            self._request, self._answer = self._segment(failed, theirs), self._segment(failed, theirs)
            self._child = ChildProcess(SERVE, opening, caps, paths, subject=subject or f"'{opening.target}'", home=home)
            failed.callback(self._child.close)
            self._subject = self._child.subject
            self.bell.peer = self._child.pidfd
            try:
                self._open(monotonic() + caps.timeout_s, (*ends, self._request.fd, self._answer.fd))
            except BaseException as error:
                raise self.lost(error, limit_s=caps.timeout_s) from error
            failed.pop_all()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def peer(self) -> int | None:
        """A process file descriptor: readable once the child has ended. None where the system has none."""
        return self._child.pidfd

    @property
    def dead(self) -> bool:
        return self._child.dead

    def ask(self, said: dict[str, Any], tensors: Tensors) -> None:
        """Lay a request into shared memory and ring. Raises InvalidInput, TooLarge for what cannot cross; then nothing was asked."""
        layout, buffers = self._packer.pack(said, tensors)
        if layout.size > self._request.size:
            self._request = self._grown(self._request, layout.size, Ring.REQUEST_ROOM)
        write(self._request.view, layout, buffers)
        self.bell.ring(_RUN, len(layout.header), layout.size)

    def answer(self) -> Answer | AweighError | None:
        """What the child rang for: the answer, the error that the target raised, or None where it wanted room and goes on. After a ring."""
        kind, header_bytes, size = self.bell.take()
        if kind == _ANSWER:
            return self._unpacker.unpack(self._answer.view, self._held(header_bytes), copy=True)
        if kind == Ring.FAILED:
            try:
                return raised(self._child, _FAILED.decode(bytes(self._answer.view[: self._held(header_bytes)])))
            except msgspec.DecodeError as error:
                raise InvalidFile(f"the process of {self._subject} sent an error that cannot be read") from error
        if kind == Ring.OUT_OF_MEMORY:
            return self._child.out_of_memory()
        if kind == Ring.NEEDS_ROOM:
            self._make_room(size)
            return None
        raise InternalError(f"the process of {self._subject} rang for nothing that is known: {kind}")

    def wait(self, deadline: float) -> Answer | AweighError:
        """The answer to what was asked, waited for until `deadline` of `monotonic()`. Raises TimeoutError, and what `answer` raises."""
        while True:
            self.bell.wait(deadline)
            answer = self.answer()
            if answer is not None:
                return answer

    def lost(self, error: BaseException, *, limit_s: float) -> AweighError:
        """End the child and say what became of it; may take seconds. For whatever `ask`, `answer` or waiting raised."""
        why = self._child.why(error, limit_s=limit_s) if isinstance(error, ConnectionError | TimeoutError) else None
        self.close()
        if why is not None:
            return why
        return error if isinstance(error, AweighError) else InternalError(f"the exchange with {self._subject} failed: {error}")

    def trim(self) -> None:
        """Give back the memory of a large request or answer. Only between two requests."""
        for segment in (self._request, self._answer):
            if segment.size > _KEPT_BYTES:
                segment.discard()

    def kill(self) -> None:
        """Kill the child now; whoever waits for it sees it end."""
        self._child.kill()

    def close(self) -> None:
        """End the child and release the memory. May be called twice."""
        self._child.close()
        self.bell.close()
        for segment in (self._request, self._answer):
            segment.close()

    def _segment(self, failed: contextlib.ExitStack, theirs: contextlib.ExitStack) -> Segment:
        segment = Segment.make(FIRST_BYTES)
        failed.callback(segment.close)
        theirs.callback(segment.release_fd)
        return segment

    def _open(self, deadline: float, theirs: tuple[int, ...]) -> None:
        """Start the target, wait until it is open, and hand the child its ends of pipes and memory."""
        channel = self._child.channel
        channel.send(self._child.start, deadline=deadline)
        while True:
            try:
                message = FROM_CHILD.decode(channel.receive(deadline=deadline))
            except msgspec.DecodeError as error:
                raise InternalError(f"the process of {self._subject} answered what was not expected: {error}") from error
            if isinstance(message, Started):
                self.network_off = message.network_off
            elif isinstance(message, Done):
                channel.send_files(theirs, deadline=deadline)
                return
            elif isinstance(message, Failed | OutOfMemory):
                raise raised(self._child, message)

    def _held(self, size: int) -> int:
        if size > self._answer.size:
            raise InvalidFile(f"the process of {self._subject} claims an answer of {size} bytes where there are {self._answer.size}")
        return size

    def _make_room(self, size: int) -> None:
        try:
            self._answer = self._grown(self._answer, size, Ring.ANSWER_ROOM)
        except TooLarge:
            self.bell.ring(Ring.ANSWER_ROOM)

    def _grown(self, old: Segment, size: int, kind: Ring) -> Segment:
        """A larger segment in place of `old`, at the child's too."""
        segment = Segment.make(room_for(size, self._limit))
        self.bell.ring(kind, size=segment.size)
        self._child.channel.send_files((segment.fd,), deadline=monotonic() + 1)
        segment.release_fd()
        old.close()
        return segment
