"""FastAPI under uvicorn: `app.py`. Settings and where they come from: `settings.toml`."""

from pathlib import Path

from bench import environments
from bench.peers.peer import Peer, Ports
from bench.workload import Workload


def peer(name: str, workers: int) -> Peer:
    def command(_: Workload, ports: Ports) -> list[str]:
        python = environments.python("fastapi")
        uvicorn = [str(python), "-m", "uvicorn", "app:app", "--app-dir", str(Path(__file__).parent), "--port", str(ports.rest)]
        return [*uvicorn, "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning", "--workers", str(workers)]

    return Peer(
        name=name,
        command=command,
        one_port=False,
        about=f"FastAPI, `async def`, pydantic models; uvicorn with uvloop and httptools, {workers} worker{'s' if workers > 1 else ''}",
        environment=(("PYTHONPATH", str(environments.ROOT)),),
        lacks={"grpc": "FastAPI speaks no gRPC"},
        kept="fastapi",
    )


ONE = peer("fastapi", 1)
TWO = peer("fastapi-2-cores", 2)
