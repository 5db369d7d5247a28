"""Changes of a store in forked children that are killed at one of their steps, and whether what the store then holds is whole."""

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

from aweigh.core.names import parse_reference
from aweigh.store import Store
from aweigh.store.files import Files

MODEL = "variants/onnx/model.onnx"
KILLED = -signal.SIGKILL
Outcomes = list[tuple[Store, list[str]]]
"""After each kill: the store, and the versions that it lists."""


def die() -> None:
    """End this process at once: nothing is cleaned up and nothing flushed."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked child that never returns to pytest; its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child only publishes and exits: no lock of another thread is waited for
        pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(number: int) -> Files:
    """Files that end the process just before the given step."""
    left = number

    def step(name: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            if name == "write":  # half of a file is the worst a write can leave
                path.write_bytes(b"half")
            die()

    return Files(step)


def check(store: Store) -> list[str]:
    """Every version and alias that is listed is whole."""
    lines = store.list()
    for line in lines:
        package = store.open(line.reference)
        package.verify()
        package.path(MODEL)
        for alias in line.aliases:
            assert store.open(parse_reference(f"{line.name}@{alias}")).digest == line.digest
    return [str(line.reference) for line in lines]


def walk(folder: Path, prepare: Callable[[Store], object], work: Callable[[Store], object]) -> Outcomes:
    """Do `work` in a child killed at each of its steps in turn, each time on a fresh store; what the store then holds."""
    return _walk(folder, prepare, lambda at, number: work(Store(at, files=killed_at(number))))


def walk_syncs(folder: Path, prepare: Callable[[Store], object], work: Callable[[Store], object]) -> Outcomes:
    """The same, killed before and after each `fsync` of the process, whoever asks for it."""

    def killed(at: Path, number: int) -> None:
        sync, left = os.fsync, number

        def fsync(descriptor: int) -> None:
            nonlocal left
            for act in (lambda: None, lambda: sync(descriptor)):
                act()
                left -= 1
                if left < 0:
                    die()

        os.fsync = fsync
        work(Store(at))

    return _walk(folder, prepare, killed)


def _walk(folder: Path, prepare: Callable[[Store], object], killed: Callable[[Path, int], object]) -> Outcomes:
    outcomes: Outcomes = []
    for number in range(500):
        at = folder / str(number)
        prepare(Store(at))
        status = in_child(lambda at=at, number=number: killed(at, number))
        outcomes.append((Store(at), check(Store(at))))
        if status == 0:
            return outcomes
        assert status == KILLED
    raise AssertionError("the work never ended")
