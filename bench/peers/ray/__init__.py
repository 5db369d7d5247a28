"""Ray Serve: `server.py`. Settings and where they come from: `settings.toml`."""

import os
from pathlib import Path

from bench import environments
from bench.peers.peer import Peer, Ports
from bench.workload import Workload


def peer(name: str, replicas: int) -> Peer:
    def command(_: Workload, ports: Ports) -> list[str]:
        script = Path(__file__).parent / "server.py"
        return [str(environments.python("ray")), str(script), str(ports.rest), str(ports.grpc), str(replicas)]

    return Peer(
        name=name,
        command=command,
        one_port=False,
        about=f"Ray Serve, RAY_SERVE_THROUGHPUT_OPTIMIZED=1, max_ongoing_requests=1000, num_replicas={replicas}",
        environment=(
            ("PYTHONPATH", f"{environments.ROOT}{os.pathsep}{Path(__file__).parent}"),
            ("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1"),
            ("RAY_USAGE_STATS_ENABLED", "0"),
            ("RAY_AUTH_MODE", "disabled"),
        ),
        kept="ray",
        start_s=180.0,
    )


ONE = peer("ray", 1)
TWO = peer("ray-2-cores", 2)
