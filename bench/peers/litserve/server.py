"""LitServe: one LitAPI. `python server.py PORT MODEL WORKERS API_SERVERS`, in LitServe's own environment."""

import sys
from typing import Any

import litserve

from bench.session import Session


class Infer(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = Session.of_environment()

    def decode_request(self, request: dict[str, Any]) -> Any:
        return request["inputs"]

    def predict(self, x: Any) -> Any:
        return self.session.of_json(x)

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    port, model, workers, api_servers = sys.argv[1:]
    api = Infer(api_path=f"/v2/models/{model}/infer")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(workers), fast_queue=True, timeout=False)
    server.run(
        host="127.0.0.1",
        port=int(port),
        num_api_servers=int(api_servers),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
