"""LitServe: `server.py`. Settings and where they come from: `settings.toml`."""

from pathlib import Path

from bench import environments
from bench.peers.peer import Peer, Ports
from bench.workload import Workload


def peer(name: str, workers: int) -> Peer:
    def command(workload: Workload, ports: Ports) -> list[str]:
        script = Path(__file__).parent / "server.py"
        return [str(environments.python("litserve")), str(script), str(ports.rest), workload.model, str(workers), str(workers)]

    return Peer(
        name=name,
        command=command,
        one_port=False,
        about=f"LitServe, fast_queue (ZeroMQ), workers_per_device={workers}, num_api_servers={workers}",
        environment=(("PYTHONPATH", str(environments.ROOT)),),
        lacks={"grpc": "LitServe speaks no gRPC", "binary": "LitServe takes JSON and forms, not a raw body"},
        kept="litserve",
    )


ONE = peer("litserve", 1)
TWO = peer("litserve-2-cores", 2)
