"""Writes a server's log lines from a thread of its own, so that a full disk or a pipe that nobody reads costs lines and not answers.

What waits is bounded; what does not fit or cannot be written is dropped and counted, and told of once writing works again. Used by whatever
serves, while it serves. Must never raise where lines are handed in, nor wait.
"""

import contextlib
import io
import logging
import os
import queue
import select
import threading
from collections.abc import Callable, Iterator, MutableSequence
from typing import Final

from aweigh.engine.slab import LINES_DROPPED

_MOST_BYTES: Final = 1024 * 1024
"""Of lines that wait."""
_AT_ONCE_BYTES: Final = 64 * 1024
_LAST_WORDS_S: Final = 1.0
"""How long what waits may take to be written when the server ends."""


@contextlib.contextmanager
def lines_written_aside(counts: MutableSequence[int]) -> Iterator[None]:
    """Let a thread write what is logged to a stream meanwhile. `counts[LINES_DROPPED]` goes up with each line that is dropped."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
    writers = [(handler, handler.stream, writer) for handler in handlers if (writer := _writer_of(handler, counts)) is not None]
    for handler, _, writer in writers:
        handler.setStream(writer)
    try:
        yield
    finally:
        for handler, stream, writer in writers:
            if writer.close():  # otherwise whoever writes to that stream waits for ever
                handler.setStream(stream)


def _writer_of(handler: "logging.StreamHandler[io.TextIOBase]", counts: MutableSequence[int]) -> "LogWriter | None":
    def notice(lines: int) -> str:
        record = logging.LogRecord("aweigh.server", logging.WARNING, "", 0, "log lines were dropped", (), None)
        record.lines = lines
        return handler.format(record) + handler.terminator

    try:
        return LogWriter(handler.stream.fileno(), counts, notice)
    except (AttributeError, OSError):  # a stream in memory, which nothing stops
        return None


class LogWriter:
    """Stands for a text stream. `write` is called by one thread at a time, as handlers do."""

    def __init__(self, descriptor: int, counts: MutableSequence[int], notice: Callable[[int], str]) -> None:
        """`notice` makes the line that tells how many were dropped."""
        self._descriptor = descriptor
        self._counts = counts
        self._notice = notice
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._put_bytes = self._taken_bytes = 0
        self._untold = 0
        """Lines that were dropped since the last notice."""
        self._lock = threading.Lock()
        """Of the counts of what was dropped, alone."""
        self._inside_line = False
        self._thread = threading.Thread(target=self._run, name="aweigh-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take a line, or drop it where too much waits already."""
        data = line.encode("utf-8", "backslashreplace")
        if self._put_bytes - self._taken_bytes + len(data) > _MOST_BYTES:
            self._drop(1)
            return
        self._put_bytes += len(data)
        self._lines.put(data)

    def flush(self) -> None:
        """Nothing: who logs does not wait."""

    def close(self) -> bool:
        """Write what waits, within a second; False when it could not be written by then."""
        self._lines.put(None)
        self._thread.join(_LAST_WORDS_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        ended = False
        while not ended:
            lines, ended = self._next()
            if not lines:
                return
            size = sum(map(len, lines))
            if told := self._untold:
                lines.append(self._notice(told).encode())
            unwritten = self._write(b"".join(lines))
            self._taken_bytes += size
            if unwritten:
                self._drop(unwritten - bool(told))
            elif told:
                with self._lock:
                    self._untold -= told

    def _next(self) -> tuple[list[bytes], bool]:
        """Wait for a line; it and those behind it, and whether they were the last."""
        lines: list[bytes] = []
        size = 0
        with contextlib.suppress(queue.Empty):
            while size < _AT_ONCE_BYTES:
                line = self._lines.get_nowait() if lines else self._lines.get()
                if line is None:
                    return lines, True
                lines.append(line)
                size += len(line)
        return lines, False

    def _write(self, text: bytes) -> int:
        """How many lines of the text were not written whole."""
        if self._inside_line:  # the last one was not: this one begins on a line of its own
            text = b"\n" + text
        rest = memoryview(text)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody who shares the stream made it so
                select.select((), (self._descriptor,), ())
            except OSError:
                break
        written = len(text) - len(rest)
        if not written:
            return text.count(b"\n") - self._inside_line
        self._inside_line = text[written - 1 : written] != b"\n"
        return bytes(rest).count(b"\n")

    def _drop(self, lines: int) -> None:
        with self._lock:
            self._untold += lines
            self._counts[LINES_DROPPED] += lines
