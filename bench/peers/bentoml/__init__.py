"""BentoML: `service.py`. Settings and where they come from: `settings.toml`."""

from pathlib import Path

from bench import environments
from bench.peers.peer import Peer, Ports
from bench.workload import Workload


def peer(name: str, workers: int) -> Peer:
    def command(_: Workload, ports: Ports) -> list[str]:
        folder = Path(__file__).parent
        serve = [str(environments.python("bentoml")), "-m", "bentoml", "serve", "service:Infer", "--working-dir", str(folder)]
        return [*serve, "--host", "127.0.0.1", "--port", str(ports.rest)]

    return Peer(
        name=name,
        command=command,
        one_port=False,
        about=f"BentoML, an `async def` API, access log off, workers={workers}",
        environment=(("PYTHONPATH", str(environments.ROOT)), ("BENCH_WORKERS", str(workers)), ("BENTOML_DO_NOT_TRACK", "True")),
        lacks={"grpc": "BentoML's services speak no gRPC since 1.2", "binary": "BentoML takes JSON, forms and files, not a raw body"},
        kept="bentoml",
    )


ONE = peer("bentoml", 1)
TWO = peer("bentoml-2-cores", 2)
