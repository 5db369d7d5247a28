"""What a server needs to be timed: its command, and where it then answers."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aweigh.core.errors import AweighError
from bench.processes import Running, free_port, running
from bench.workload import Workload

START_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Free ports; a server of one port uses `rest` for both."""

    rest: int
    grpc: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server by name. `command` may raise BenchError that says how to install it."""

    name: str
    command: Callable[[Workload, Ports], list[str]]
    one_port: bool
    about: str
    """Its settings, in words, for the report."""
    environment: tuple[tuple[str, str], ...] = ()

    @contextlib.contextmanager
    def start(self, workload: Workload, folder: Path) -> Iterator["Started"]:
        """Start it and wait until it answers rightly. Raises BenchError with the end of its log."""
        rest = free_port()
        ports = Ports(rest=rest, grpc=rest if self.one_port else free_port())
        environment = {"ORT_DISABLE_TELEMETRY": "1", "AWEIGH_HOME": str(workload.home or folder / f"home-{rest}"), **dict(self.environment)}
        with running(self.name, self.command(workload, ports), folder, environment) as process:
            urls = (f"http://127.0.0.1:{ports.rest}", f"grpc://127.0.0.1:{ports.grpc}")
            _wait(process, urls[0], workload)
            workload.check(self.name, urls)
            yield Started(peer=self, process=process, rest_url=urls[0], grpc_url=f"http://127.0.0.1:{ports.grpc}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server that answers rightly."""

    peer: Peer
    process: Running
    rest_url: str
    grpc_url: str
    """As h2load wants it: http://, prior knowledge."""


def _wait(process: Running, url: str, workload: Workload) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and not process.ended:
        with contextlib.suppress(AweighError, OSError):
            workload.ask(url, timeout_s=2)
            return
        time.sleep(0.05)
    raise process.failure()
