"""grpcio's asyncio server: `server.py`. Settings and where they come from: `settings.toml`."""

from pathlib import Path

from bench import environments
from bench.peers.peer import Peer, Ports
from bench.workload import Workload


def _command(_: Workload, ports: Ports) -> list[str]:
    return [str(environments.python("grpcio")), str(Path(__file__).parent / "server.py"), str(ports.grpc)]


ONE = Peer(
    name="grpcio",
    command=_command,
    one_port=False,
    about="grpcio's asyncio server, compiled messages, the same session",
    environment=(("PYTHONPATH", str(environments.ROOT)),),
    lacks={"json": "a gRPC server", "binary": "a gRPC server"},
    kept="grpcio",
)
