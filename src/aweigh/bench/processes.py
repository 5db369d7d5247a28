"""One load from one or several generator processes, and its figures added up. Several begin at one moment of the machine's monotonic clock.

A child is this module run as a program: it reads a Job, says when it is connected, is told when to begin, and writes its Tally.
"""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic
from typing import IO, Final

import msgspec

from aweigh.bench.generator import generate, run_loop
from aweigh.bench.plan import Job, Load, Question, Target
from aweigh.bench.recorder import Tally
from aweigh.core.errors import AweighError, ChildDied, InternalError, from_dict

_SOON_S: Final = 0.05
_STDERR_SHOWN: Final = 2000


class Connected(msgspec.Struct, frozen=True, tag=True):
    """A child has all its connections."""


class Found(msgspec.Struct, frozen=True, tag=True):
    """A child's figures."""

    tally: Tally


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Why a child gave up."""

    error: dict[str, object]


_MESSAGE: Final = msgspec.msgpack.Decoder(Connected | Found | Failed)


def run_load(target: Target, questions: Sequence[Question], load: Load) -> list[Tally]:
    """Run the load to its end. Raises Unavailable when the server cannot be reached, ChildDied."""
    jobs = [Job(target=target, questions=tuple(questions), load=load, share=share) for share in range(load.processes)]
    if len(jobs) == 1:
        return [run_loop(_alone(jobs[0]))]
    children = [_start(job) for job in jobs]
    try:
        for child in children:
            _expect(child, Connected)
        begin = monotonic() + _SOON_S
        for child in children:
            _send(child, msgspec.msgpack.encode(begin))
        return [found.tally for child in children if isinstance(found := _expect(child, Found), Found)]
    finally:
        for child in children:
            child.kill()
            child.communicate()


async def _alone(job: Job) -> Tally:
    async def ready() -> float:
        return monotonic()

    return await generate(job, ready)


def _start(job: Job) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-P", "-m", "aweigh.bench.processes"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _send(child, msgspec.msgpack.encode(job))
    return child


def _send(child: "subprocess.Popen[bytes]", data: bytes) -> None:
    if child.stdin is not None:
        try:
            _write(child.stdin, data)
        except BrokenPipeError as error:
            raise _died(child) from error


def _expect(child: "subprocess.Popen[bytes]", kind: type[Connected | Found]) -> Connected | Found:
    data = _read(child.stdout) if child.stdout is not None else b""
    if not data:
        raise _died(child)
    said = _MESSAGE.decode(data)
    if isinstance(said, Failed):
        raise from_dict(said.error)
    if not isinstance(said, kind):
        raise InternalError(f"a generator process said {type(said).__name__} where {kind.__name__} was due")
    return said


def _died(child: "subprocess.Popen[bytes]") -> ChildDied:
    child.kill()
    _, said = child.communicate()
    return ChildDied(
        f"a generator process ended with {child.returncode}: {said[-_STDERR_SHOWN:].decode('utf-8', 'replace').strip()}",
        hint="is there memory enough? fewer --processes or --connections need less",
    )


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    head = stream.read(4)
    return stream.read(int.from_bytes(head, "big")) if len(head) == 4 else b""


def main() -> None:
    """The child."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    job = msgspec.msgpack.decode(_read(source), type=Job)

    async def ready() -> float:
        _write(sink, msgspec.msgpack.encode(Connected()))
        told = await asyncio.get_running_loop().run_in_executor(None, _read, source)
        return msgspec.msgpack.decode(told, type=float)

    try:
        _write(sink, msgspec.msgpack.encode(Found(tally=run_loop(generate(job, ready)))))
    except AweighError as error:
        _write(sink, msgspec.msgpack.encode(Failed(error=error.as_dict())))


if __name__ == "__main__":
    main()
