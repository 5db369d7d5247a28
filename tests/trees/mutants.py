"""Hostile forms of valid model files, and the judge that opens them in a child: every outcome is a refusal, an answer, or the child's own death."""

import os
import random
import re
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np

from aweigh.core.errors import AweighError
from aweigh.packing.choose import framework_for_format
from aweigh.packing.frameworks.boosted import library
from aweigh.packing.recognise import recognise

SECONDS = 5
REFUSED = 10
_NUMBERS = (b"99999", b"-100", b"-1", b"1000000000", b"4294967296", b"-9223372036854775808", b"1e308", b"nan", b"0")
_COUNTS = (
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x00\x3b\x9a\xca\x00",
    b"\xff\xff\xff\xff",
    b"\x3b\x9a\xca\x00",
)


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """A range of mutants of one file for one child."""

    file: str
    count: int


def mutants(data: bytes, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Numbered mutants: the same number is the same mutant."""
    kinds: list[Callable[[bytes, random.Random], bytes]] = [_number, _number, _number, _cut, _flip, _grown, _count, _swap]
    for number in range(first, last):
        source = random.Random(number)
        yield number, kinds[number % len(kinds)](data, source)


def _number(data: bytes, source: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?", data))
    if len(found) < 20:
        return _count(data, source)
    for match in sorted(source.sample(found, source.randint(1, 3)), key=lambda one: -one.start()):
        data = data[: match.start()] + source.choice(_NUMBERS) + data[match.end() :]
    return data


def _cut(data: bytes, source: random.Random) -> bytes:
    return data[: source.randrange(8, len(data))]


def _flip(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(source.randint(1, 8)):
        changed[source.randrange(6, len(changed))] = source.randrange(256)
    return bytes(changed)


def _grown(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(8, len(data))
    size = source.randrange(1, 200)
    return data[:at] + data[at : at + size] * source.randint(2, 50) + data[at:]


def _count(data: bytes, source: random.Random) -> bytes:
    value = source.choice(_COUNTS)
    at = source.randrange(8, max(9, len(data) - len(value)))
    return data[:at] + (value if source.random() < 0.5 else value[::-1]) + data[at + len(value) :]


def _swap(data: bytes, source: random.Random) -> bytes:
    size = source.randrange(4, 400)
    one, two = (source.randrange(8, max(9, len(data) - size)) for _ in range(2))
    changed = bytearray(data)
    changed[one : one + size], changed[two : two + size] = data[two : two + size], data[one : one + size]
    return bytes(changed)


def judge(lot: Lot) -> list[str]:
    """What becomes of each mutant: "answered", "refused", "died" or "hung". Runs in a child, which opens each mutant in a fork of its own."""
    data = Path(lot.file).read_bytes()
    place = Path(lot.file).with_suffix(".mutant")
    _open(Path(lot.file))  # the library is imported once, and the file is sound
    found = []
    for _number, mutant in mutants(data, 0, lot.count):
        place.write_bytes(mutant)
        pid = os.fork()
        if pid == 0:
            _in_fork(place)
        found.append(_outcome(os.waitpid(pid, 0)[1]))
    return found


def _in_fork(place: Path) -> NoReturn:
    signal.alarm(SECONDS)
    try:
        _open(place)
    except AweighError:
        os._exit(REFUSED)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _outcome(status: int) -> str:
    if os.WIFSIGNALED(status):
        return "hung" if os.WTERMSIG(status) == signal.SIGALRM else "died"
    return {0: "answered", REFUSED: "refused"}.get(os.waitstatus_to_exitcode(status), "raised")


def _open(place: Path) -> None:
    recognised = recognise(place)
    framework = framework_for_format(recognised.format)
    model = framework.load(place, recognised, trust=False)
    source = library(recognised.format)
    try:
        source.read(model, None)
        width = source.width(model)
        if 0 < width < 10_000:
            model.predict(np.zeros((3, width)))
    except AweighError:
        raise
    except Exception:  # as packing takes it: the source is foreign code, whatever it raises is its answer
        return
