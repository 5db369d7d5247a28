"""The processor time of a server on this machine, found by the port it listens on. Linux; elsewhere it knows nothing, and says so."""

import contextlib
import os
import threading
from pathlib import Path
from time import monotonic
from typing import Final, Self

_SAMPLE_S: Final = 0.25
_LISTENING: Final = "0A"
_PROC: Final = Path("/proc")


class CpuWatch:
    """Samples whoever listens on a port, and its descendants, while the block runs. The family is that of the beginning: reading all of
    /proc again and again would make the generator late.
    """

    def __init__(self, port: int | None) -> None:
        self._family = _descendants(_listeners(port)) if port is not None else set[int]()
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="aweigh-bench-cpu", daemon=True)

    def __enter__(self) -> Self:
        if self._family:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            with contextlib.suppress(OSError, ValueError, IndexError):  # a process that has ended took its figures with it
                self._samples.append((monotonic(), sum(_cpu_s(pid) for pid in self._family)))

    def cores(self, begin: float, end: float) -> float | None:
        """Cores in use between two times of `monotonic`; None where nobody could be watched."""
        inside = [sample for sample in self._samples if begin <= sample[0] <= end]
        if len(inside) < 2:
            return None
        (first, used_first), (last, used_last) = inside[0], inside[-1]
        return max(0.0, used_last - used_first) / (last - first)


def _listeners(port: int) -> set[int]:
    """Processes that hold a listening socket of the port, without this one."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    found = set()
    for folder in _PROC.glob("[0-9]*/fd") if inodes else ():
        with contextlib.suppress(OSError):
            if any(str(entry.readlink()) in inodes for entry in folder.iterdir()):
                found.add(int(folder.parent.name))
    return found - {os.getpid()}


def _descendants(roots: set[int]) -> set[int]:
    """The processes, and all that came of them."""
    parents = {}
    for file in _PROC.glob("[0-9]*/stat") if roots else ():
        with contextlib.suppress(OSError):
            parents[int(file.parent.name)] = int(_fields(file)[1])
    family = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in family and pid not in family}:
        family |= more
    return family


def _cpu_s(pid: int) -> float:
    """User and system time of one process."""
    fields = _fields(_PROC / str(pid) / "stat")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _fields(file: Path) -> list[str]:
    """Of proc(5)'s stat, from the state on: the name before may hold anything."""
    return file.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
