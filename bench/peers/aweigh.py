"""`aweigh serve` as installed: limits, metrics and authorisation as they come, one worker, no batching."""

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


def _command(workload: Workload, ports: Ports) -> list[str]:
    what = [workload.model] if workload.home else [str(workload.file), "--name", workload.model]
    return [command(), "serve", *what, "--port", str(ports.rest)]


PEER = Peer(
    name="aweigh", command=_command, one_port=True, about="`aweigh serve` as installed: one worker, limits and metrics on, no batching"
)
