"""`aweigh serve` as installed: limits, metrics, statistics and authorisation as they come, batching as the model's evidence allows."""

import sys
from pathlib import Path

from bench.peers.peer import Peer, Ports
from bench.processes import BenchError
from bench.workload import Workload


def command() -> str:
    """The installed command beside this Python. Raises BenchError."""
    path = Path(sys.executable).with_name("aweigh")
    if not path.exists():
        raise BenchError(f"{path} is missing: run `make setup`")
    return str(path)


def serve(workload: Workload, ports: Ports) -> list[str]:
    what = [workload.model] if workload.home else [str(workload.file), "--name", workload.model]
    return [command(), "serve", *what, "--port", str(ports.rest)]


def _two_workers(workload: Workload, ports: Ports) -> list[str]:
    return [*serve(workload, ports), "--workers", "2"]


PEER = Peer(
    name="aweigh",
    command=serve,
    one_port=True,
    about="`aweigh serve` as installed: one worker, limits, metrics and statistics on, batching as the evidence allows",
)
UNBATCHED = Peer(
    name="aweigh-unbatched",
    command=serve,
    one_port=True,
    about="the same with AWEIGH_BATCHING=off",
    environment=(("AWEIGH_BATCHING", "off"),),
)
TWO = Peer(name="aweigh-2-cores", command=_two_workers, one_port=True, about="`aweigh serve --workers 2`")
