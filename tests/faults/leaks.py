"""What a server holds, with all its processes: files, threads and memory before a fault, and whether they are the same again after it."""

import dataclasses
import time
from pathlib import Path
from typing import Self

from tests.serving.served import Served

PATIENCE_S = 30.0
MEMORY_SHARE = 0.05
SMALL_BYTES = 4 * 2**20
"""What an allocator keeps and an interpreter loads at first use: in a small server more than a twentieth."""
_FIRST_CONNECTIONS = 12
_OWN = ("Pss_Anon:", "Pss_Shmem:")


def family(pid: int) -> list[int]:
    """A process and everything that it started and that is there still, in whatever depth."""
    found, new = [], [pid]
    while new:
        at = new.pop()
        try:
            if Path(f"/proc/{at}/stat").read_text().rpartition(")")[2].split()[0] == "X":
                continue
            found.append(at)  # zombies too: nobody has buried them
            for task in Path(f"/proc/{at}/task").iterdir():
                new += [int(each) for each in (task / "children").read_text().split()]
        except OSError:  # it ended while it was looked at
            continue
    return found


@dataclasses.dataclass(slots=True, frozen=True)
class Holdings:
    """Of a process and its family. Memory that several of them share counts once (proportional set size); files that are mapped do not count,
    because what is left of them depends on who else on the machine has them mapped."""

    processes: int = 0
    files: int = 0
    threads: int = 0
    memory_bytes: int = 0

    @classmethod
    def of(cls, pid: int) -> Self:
        processes = files = threads = memory = 0
        for each in family(pid):
            processes += 1
            try:
                files += len(list(Path(f"/proc/{each}/fd").iterdir()))
                threads += len(list(Path(f"/proc/{each}/task").iterdir()))
                lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            memory += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_OWN))
        return cls(processes, files, threads, memory)

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.files} files, {self.threads} threads, {self.memory_bytes / 2**20:.1f} MiB"


class Leaks:
    """Remembers what a server holds now: make it once the server has done everything that it does at first use."""

    def __init__(self, server: Served) -> None:
        self._pid = server.process.pid
        for _ in range(_FIRST_CONNECTIONS):  # an event loop opens files of its own when the first one comes
            server.get("/live")
        self.before = self._settled()

    def check(self, *, memory: float = MEMORY_SHARE, threads: int = 0, files: int = 0, within_s: float = PATIENCE_S) -> None:
        """No more processes than before; files, threads and memory as before, but for a share of memory and what the test allows by number."""
        was, until = self.before, time.monotonic() + within_s
        bytes_allowed = was.memory_bytes + max(SMALL_BYTES, memory * was.memory_bytes)
        while True:
            now = Holdings.of(self._pid)
            if (
                now.processes <= was.processes
                and now.files <= was.files + files
                and now.threads <= was.threads + threads
                and now.memory_bytes <= bytes_allowed
            ):
                return
            assert time.monotonic() < until, f"before: {was}; {within_s:g} s after: {now}; {self._open_files()}"
            time.sleep(0.1)

    def _settled(self) -> Holdings:
        """Two looks that agree."""
        last = Holdings.of(self._pid)
        for _ in range(20):
            time.sleep(0.1)
            now = Holdings.of(self._pid)
            if (now.processes, now.files, now.threads) == (last.processes, last.files, last.threads):
                return now
            last = now
        return last

    def _open_files(self) -> dict[int, list[str]]:
        """Which files, by process: for the message of a failure."""
        found: dict[int, list[str]] = {}
        for pid in family(self._pid):
            for each in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    found.setdefault(pid, []).append(str(each.readlink()))
                except OSError:
                    continue
        return found
