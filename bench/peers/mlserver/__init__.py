"""MLServer: `runtime.py` and the two files that `mlserver start` wants. Settings and where they come from: `settings.toml`."""

import json
import os
from pathlib import Path

from bench import environments
from bench.peers.peer import Peer, Ports
from bench.processes import free_port
from bench.workload import Workload

LARGEST = 64 << 20


def peer(name: str, workers: int) -> Peer:
    def command(workload: Workload, ports: Ports) -> list[str]:
        folder = workload.file.parent / f"{name}-{ports.rest}"
        (folder / workload.model).mkdir(parents=True)
        server = {
            "debug": False,
            "host": "127.0.0.1",
            "http_port": ports.rest,
            "grpc_port": ports.grpc,
            "metrics_port": free_port(),
            "metrics_dir": str(folder),
            "parallel_workers": workers,
            "grpc_max_message_length": LARGEST,
        }
        (folder / "settings.json").write_text(json.dumps(server))
        model = {"name": workload.model, "implementation": "runtime.OnnxModel"}
        (folder / workload.model / "model-settings.json").write_text(json.dumps(model))
        return [str(environments.python("mlserver").with_name("mlserver")), "start", str(folder)]

    pool = f"parallel_workers={workers}" if workers else "parallel_workers=0 (no pool beside the server)"
    return Peer(
        name=name,
        command=command,
        one_port=False,
        about=f"MLServer, its own Open Inference doors, a custom runtime, {pool}",
        environment=(("PYTHONPATH", f"{environments.ROOT}{os.pathsep}{Path(__file__).parent}"),),
        lacks={"binary": "MLServer's REST door has no binary extension"},
        kept="mlserver",
    )


ONE = peer("mlserver", 0)
TWO = peer("mlserver-2-cores", 2)
