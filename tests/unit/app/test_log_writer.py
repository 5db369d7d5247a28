"""Log lines written by a thread of their own: in order and whole, dropped and counted where nobody reads or nothing can be written, told of later."""

import fcntl
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aweigh.app.log_writer import LogWriter, lines_written_aside
from aweigh.app.logs import JsonLines
from aweigh.engine.slab import CELLS, LINES_DROPPED

LINE = "x" * 999 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def notice(lines: int) -> str:
    return f"dropped {lines}\n"


def drained(read: int) -> str:
    """Everything that is in the pipe now."""
    os.set_blocking(read, False)
    text = b""
    try:
        while piece := os.read(read, 65536):
            text += piece
    except BlockingIOError:
        pass
    os.set_blocking(read, True)
    return text.decode()


def test_lines_come_out_in_order_and_whole(pipe: tuple[int, int]) -> None:
    counts = [0] * CELLS
    writer = LogWriter(pipe[1], counts, notice)
    said = [f"{at} \N{SNOWMAN} \udc80\n" for at in range(1000)]
    for line in said:
        writer.write(line)
    assert writer.close()
    assert drained(pipe[0]) == "".join(said).replace("\udc80", "\\udc80")
    assert counts == [0] * CELLS


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time_and_is_told_of(pipe: tuple[int, int]) -> None:
    counts = [0] * CELLS
    writer = LogWriter(pipe[1], counts, notice)
    for _ in range(3000):
        writer.write(LINE)  # a write that waited would never come back: nobody reads
    dropped = counts[LINES_DROPPED]
    assert 1000 < dropped < 3000
    assert not writer.close()
    text = ""
    while writer._thread.is_alive():  # it goes on as there is room
        text += drained(pipe[0])
    text += drained(pipe[0])
    assert text.count(LINE) == 3000 - dropped
    told = re.fullmatch(r"(dropped \d+\n)+", text.replace(LINE, ""))  # one notice, or a second for what was dropped behind the first
    assert told is not None
    assert sum(map(int, re.findall(r"\d+", told[0]))) == dropped


def test_what_cannot_be_written_is_counted() -> None:
    counts = [0] * CELLS
    with Path("/dev/full").open("wb", buffering=0) as full:
        writer = LogWriter(full.fileno(), counts, notice)
        for _ in range(5):
            writer.write(LINE)
        assert writer.close()
    assert counts[LINES_DROPPED] == 5


def test_a_line_that_was_cut_does_not_swallow_the_next(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LogWriter.__new__(LogWriter)
    writer._descriptor, writer._inside_line = write, True
    assert writer._write(b"next\n") == 0
    assert drained(read) == "\nnext\n"
    assert writer._inside_line is False


def test_a_stream_that_others_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    read, write = pipe
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write, False)
    counts = [0] * CELLS
    writer = LogWriter(write, counts, notice)
    for _ in range(100):
        writer.write(LINE)
    text = b""
    while len(text) < 100 * len(LINE):
        text += os.read(read, 65536)
    assert writer.close()
    assert text.decode() == LINE * 100
    assert counts[LINES_DROPPED] == 0


def test_while_a_server_serves_its_lines_are_written_aside_and_afterwards_as_before(pipe: tuple[int, int]) -> None:
    root, counts = logging.getLogger(), [0] * CELLS
    stream, memory = io.TextIOWrapper(io.FileIO(pipe[1], "w", closefd=False)), io.StringIO()
    handlers = [logging.StreamHandler(stream), logging.StreamHandler(memory)]
    for handler in handlers:
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
    try:
        with lines_written_aside(counts):
            assert isinstance(handlers[0].stream, LogWriter)
            assert handlers[1].stream is memory
            logging.getLogger("aweigh.x").error("said")
        assert handlers[0].stream is stream
    finally:
        for handler in handlers:
            root.removeHandler(handler)
        stream.close()
    assert json.loads(drained(pipe[0]))["event"] == json.loads(memory.getvalue())["event"] == "said"
