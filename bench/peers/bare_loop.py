"""The yardstick, `bench/bare_loop.py`."""

import sys

from bench.peers.peer import Peer, Ports
from bench.workload import Workload


def _command(workload: Workload, ports: Ports) -> list[str]:
    null = ["--null"] if workload.null else []
    return [sys.executable, "-m", "bench.bare_loop", str(workload.file), str(ports.rest), str(ports.grpc), *null]


PEER = Peer(
    name="bare-loop",
    command=_command,
    one_port=False,
    about="uvloop, httptools, own HTTP/2 frames; no limits, metrics, routes, batching",
    lacks={"binary": "the bare loop reads JSON"},
)
