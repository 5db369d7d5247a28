"""What is asked in a scenario: the model, one request in both forms, and the right answer. Made by a scenario file, used by loads and peers."""

import dataclasses
import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aweigh.client import Client
from aweigh.core.errors import AweighError
from aweigh.protos import message
from bench.processes import BenchError

ROUTE = "inference.GRPCInferenceService/ModelInfer"
HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"<f4": "FP32", "<i8": "INT64"}
DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}


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
    binary: bool = False
    """Whether REST carries tensors in binary."""
    connections: int = 32
    """Of the REST load."""
    streams: int = 32
    """Of the gRPC load, on at most four connections."""
    doors: tuple[str, ...] = ("rest", "grpc")
    """Where it is asked; gRPC has one form only, so a scenario that differs from another in REST's alone leaves it out."""
    base: str = "bare-loop"
    """The server that the others are held against."""
    targets: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"rest": 1.0, "grpc": 0.8})
    """The least ratio of aweigh to the base, by load."""

    @property
    def form(self) -> str:
        """How REST carries tensors."""
        return "binary" if self.binary else "json"

    def rest_request(self) -> tuple[dict[str, str], bytes]:
        """Headers and body of the REST request."""
        if self.binary:
            header, blobs = binary_document(self.inputs, parameters={"binary_data_output": True}, list_name="inputs")
            return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}, header + blobs
        return {"Content-Type": "application/json"}, self._json_body().encode()

    def _json_body(self) -> str:
        tensors = [
            {"name": n, "shape": list(a.shape), "datatype": DATATYPES[a.dtype.str], "data": _numbers(a)} for n, a in self.inputs.items()
        ]
        return json.dumps({"inputs": tensors}, separators=(",", ":"))

    def grpc_body(self) -> bytes:
        """The request as gRPC frames it: a flag byte, the length, the message."""
        request = message("inference.ModelInferRequest")(model_name=self.model)
        for name, array in self.inputs.items():
            request.inputs.add(name=name, datatype=DATATYPES[array.dtype.str], shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        body: bytes = request.SerializeToString()
        return b"\0" + len(body).to_bytes(4, "big") + body

    def ask(self, url: str, timeout_s: float) -> dict[str, Any]:
        """The answer to the request. Raises AweighError, OSError."""
        if not self.binary or url.startswith("grpc"):
            with Client(url, retries=0, timeout_s=timeout_s) as client:
                return dict(client.infer(self.model, self.inputs))
        headers, body = self.rest_request()
        asked = urllib.request.Request(f"{url}/v2/models/{self.model}/infer", body, headers)
        with urllib.request.urlopen(asked, timeout=timeout_s) as answer:
            return binary_tensors(answer.read(), int(answer.headers[HEADER_LENGTH]))

    def check(self, server: str, urls: Sequence[str]) -> None:
        """Ask at each address; a server that answers wrongly is not timed."""
        for url in urls:
            try:
                answer = self.ask(url, timeout_s=10)
            except (AweighError, OSError) as error:
                raise BenchError(f"{server} at {url} does not answer: {error}") from error
            for name, values in (self.expected or {}).items():
                if name not in answer or not np.allclose(answer[name].astype(np.float64), values, rtol=1e-4, atol=1e-5):
                    raise BenchError(f"{server} at {url} answers {name}={answer.get(name)} where {values} is right: not timed")


def _numbers(array: Any) -> list[float] | list[int]:
    """As short as they can be written: a float32 has fewer digits than the double it becomes."""
    return [float(str(value)) for value in array.ravel()] if array.dtype.kind == "f" else array.ravel().tolist()


def binary_document(arrays: Mapping[str, Any], *, list_name: str, **fields: object) -> tuple[bytes, bytes]:
    """The JSON of a request or an answer in the binary extension, and the tensors behind it."""
    entries = [
        {"name": name, "datatype": DATATYPES[array.dtype.str], "shape": list(array.shape), "parameters": {"binary_data_size": array.nbytes}}
        for name, array in arrays.items()
    ]
    header = json.dumps({**fields, list_name: entries}, separators=(",", ":")).encode()
    return header, b"".join(array.tobytes() for array in arrays.values())


def binary_tensors(body: bytes, header_length: int) -> dict[str, Any]:
    """The tensors of an answer in the binary extension."""
    found, at = {}, header_length
    for entry in json.loads(body[:header_length])["outputs"]:
        end = at + entry["parameters"]["binary_data_size"]
        found[entry["name"]] = np.frombuffer(body[at:end], dtype=DTYPES[entry["datatype"]]).reshape(entry["shape"])
        at = end
    return found
