"""Servers of several workers under test: who they are, how they are made to misbehave, and clients that count."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.serving.kit import BODY
from tests.serving.served import Served

_FAULTS = '''
"""Runs at the start of every interpreter of a test's server: does what the test asks of it by a file named after the process."""
import ctypes, os, pathlib, sys, threading, time

def _obey():
    folder = pathlib.Path(os.environ["FAULTS"])
    kept = []
    while True:
        time.sleep(0.02)
        for order in folder.glob(f"[!.]*-{os.getpid()}"):
            what = order.read_text()
            order.unlink()
            if order.name.startswith("hold"):
                ctypes.PyDLL(None).sleep(int(what))  # a PyDLL keeps the interpreter lock while it runs
            elif order.name.startswith("grow"):
                kept.append(b"x" * int(what))

def _begin():
    threading.Thread(target=_obey, daemon=True).start()

if "aweigh.app.template" in sys.orig_argv:  # which has one thread alone; those that it forks obey
    os.register_at_fork(after_in_child=_begin)
else:
    _begin()
'''


class Faults:
    """A folder through which a test makes one process of its server hold the interpreter lock, or grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "orders"
        self._folder.mkdir()
        (folder / "sitecustomize.py").write_text(_FAULTS)
        self.environment = {"PYTHONPATH": str(folder), "FAULTS": str(self._folder)}

    def hold(self, pid: int, seconds: int) -> None:
        """Hold the interpreter lock: the event loop stands still, whatever it does."""
        self._order(f"hold-{pid}", str(seconds))

    def grow(self, pid: int, size_bytes: int) -> None:
        """Take memory and keep it."""
        self._order(f"grow-{pid}", str(size_bytes))

    def _order(self, name: str, text: str) -> None:
        (self._folder / f".{name}").write_text(text)
        (self._folder / f".{name}").rename(self._folder / name)


def status(server: Served) -> dict[str, Any]:
    return dict(json.loads(server.get("/status")))


def pids(server: Served, state: str = "ready") -> list[int]:
    return [worker["pid"] for worker in status(server)["workers"] if worker["state"] == state]


def until(true: Callable[[], Any], seconds: float = 10.0) -> float:
    """Wait until something is true; how long that took."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if true():
                return time.monotonic() - began
        assert time.monotonic() - began < seconds, "it did not become true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def children(pid: int) -> list[int]:
    """Processes that a process started and that live."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(each) for each in found if alive(int(each))]


def descendants(pid: int) -> list[int]:
    """Those, and what they started in turn."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def template_of(server: Served) -> int:
    """The process that workers are forked from."""
    found = [child for child in children(server.process.pid) if b"aweigh.app.template" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(found) == 1, found
    return found[0]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


class Counting:
    """Clients that ask without pause on connections of their own, and count what came back. A connection that breaks is made anew."""

    def __init__(self, server: Served, clients: int, *, path: str = "/v2/models/linear/infer", body: bytes = BODY) -> None:
        self._server = server
        self._path = path
        self._body = body
        self._lock = threading.Lock()
        self.statuses: dict[int, int] = {}
        self.lost = 0
        """Requests that were sent and whose answer never came."""
        self.refused = 0
        """Connections that were not taken."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def _ask(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=10)
            try:
                connection.connect()
            except OSError:
                with self._lock:
                    self.refused += 1
                time.sleep(0.05)
                continue
            self._ask_on(connection)
            connection.close()

    def _ask_on(self, connection: http.client.HTTPConnection) -> None:
        while not self._stop.is_set():
            try:
                connection.request("POST", self._path, self._body)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.lost += 1
                return
            with self._lock:
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if answer.getheader("connection") == "close":
                return
            time.sleep(0.0005)
