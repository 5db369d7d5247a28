"""What is asked in a scenario: the model, one request in both forms, and the right answer. Made by a scenario file, used by loads and peers."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from aweigh.client import Client
from aweigh.core.errors import AweighError
from aweigh.protos import message
from bench.processes import BenchError

ROUTE = "inference.GRPCInferenceService/ModelInfer"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One scenario, ready to run. `home` is set where aweigh serves a package from a store rather than the file."""

    title: str
    model: str
    file: Path
    inputs: dict[str, Any]
    expected: dict[str, Any] | None
    """None: any answer will do (a null runtime's)."""
    home: Path | None = None
    null: bool = False

    def rest_body(self) -> str:
        tensors = [
            {"name": n, "shape": list(a.shape), "datatype": "FP32", "data": [float(str(v)) for v in a.ravel()]}
            for n, a in self.inputs.items()
        ]
        return json.dumps({"inputs": tensors}, separators=(",", ":"))

    def grpc_body(self) -> bytes:
        """The request as gRPC frames it: a flag byte, the length, the message."""
        request = message("inference.ModelInferRequest")(model_name=self.model)
        for name, array in self.inputs.items():
            request.inputs.add(name=name, datatype="FP32", shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        body: bytes = request.SerializeToString()
        return b"\0" + len(body).to_bytes(4, "big") + body

    def check(self, server: str, urls: tuple[str, str]) -> None:
        """Ask over both protocols; a server that answers wrongly is not timed."""
        for url in urls:
            try:
                with Client(url, timeout_s=10) as client:
                    answer = dict(client.infer(self.model, self.inputs))
            except AweighError as error:
                raise BenchError(f"{server} at {url} does not answer: {error}") from error
            for name, values in (self.expected or {}).items():
                if name not in answer or not np.allclose(answer[name].astype(np.float64), values, rtol=1e-4, atol=1e-5):
                    raise BenchError(f"{server} at {url} answers {name}={answer.get(name)} where {values} is right: not timed")
