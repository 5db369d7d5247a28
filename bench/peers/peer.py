"""What a server needs to be timed: its command, and where it then answers."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aweigh.core.errors import AweighError
from bench import session
from bench.processes import Running, free_port, running
from bench.workload import Workload

START_S = 120.0


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
    lacks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Why it does not speak json, binary or grpc; a form that is not here is spoken."""
    kept: str = ""
    """The folder beside this file with its requirements and the settings quoted from its documentation; none: it runs here."""
    start_s: float = START_S

    def silence(self, load: str, workload: Workload) -> str:
        """Why the load cannot be put on it; empty where it can."""
        return self.lacks.get("grpc" if load == "grpc" else workload.form, "")

    @contextlib.contextmanager
    def start(self, workload: Workload, folder: Path) -> Iterator["Started"]:
        """Start it and wait until it answers rightly. Raises BenchError with the end of its log."""
        rest = free_port()
        ports = Ports(rest=rest, grpc=rest if self.one_port else free_port())
        with running(self.name, self.command(workload, ports), folder, self._environment(workload, folder / f"home-{rest}")) as process:
            urls = {"rest": f"http://127.0.0.1:{ports.rest}", "grpc": f"grpc://127.0.0.1:{ports.grpc}"}
            spoken = [url for load, url in urls.items() if not self.silence(load, workload)]
            _wait(process, spoken[0], workload, self.start_s)
            workload.check(self.name, spoken)
            yield Started(peer=self, process=process, rest_url=urls["rest"], grpc_url=f"http://127.0.0.1:{ports.grpc}")

    def _environment(self, workload: Workload, home: Path) -> dict[str, str]:
        return {
            "ORT_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
            "AWEIGH_HOME": str(workload.home or home),
            session.FILE_VARIABLE: str(workload.file),
            session.NAME_VARIABLE: workload.model,
            session.FORM_VARIABLE: workload.form,
            **dict(self.environment),
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server that answers rightly."""

    peer: Peer
    process: Running
    rest_url: str
    grpc_url: str
    """As h2load wants it: http://, prior knowledge."""


def _wait(process: Running, url: str, workload: Workload, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and not process.ended:
        with contextlib.suppress(AweighError, OSError):
            workload.ask(url, timeout_s=2)
            return
        time.sleep(0.05)
    raise process.failure()
