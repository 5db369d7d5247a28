"""`aweigh serve` as installed: limits, metrics, statistics and authorisation as they come, batching as the model's evidence allows."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.peers.peer import Peer, Ports
from bench.processes import BenchError
from bench.workload import Workload

PACK_S: Final = 400.0


def command() -> str:
    """The installed command beside this Python. Raises BenchError."""
    path = Path(sys.executable).with_name("aweigh")
    if not path.exists():
        raise BenchError(f"{path} is missing: run `make setup`")
    return str(path)


def packed(workload: Workload, folder: Path) -> Workload:
    """The model packed once for all servers of it, as packing proves it, which takes its time. Raises BenchError."""
    home = folder / "aweigh-home"
    line = [command(), "pack", str(workload.file), "--name", workload.model, "--home", str(home)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=PACK_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"aweigh pack did not end within {PACK_S:.0f} s") from error
    if done.returncode:
        raise BenchError(f"aweigh pack: {done.stderr.strip()[-600:]}")
    return dataclasses.replace(workload, home=home)


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
