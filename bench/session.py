"""The session as every peer holds it: the same file, one intra-op thread, Open Inference V2 around it. Must need numpy and onnxruntime alone.

Runs in the peers' own environments (`from bench.session import Session`, with the repository on PYTHONPATH), so that what differs between
the figures is the server.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime

DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
DATATYPES = {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(int64)": "INT64"}
FILE_VARIABLE = "BENCH_MODEL_FILE"
NAME_VARIABLE = "BENCH_MODEL_NAME"
FORM_VARIABLE = "BENCH_FORM"
"""json or binary: what the REST door is asked in."""
HEADER_LENGTH = "inference-header-content-length"


class Session:
    """One ONNX Runtime session."""

    def __init__(self, path: str, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [(output.name, DATATYPES[output.type]) for output in self.session.get_outputs()]
        self.names = [name for name, _ in self.outputs]

    @classmethod
    def of_environment(cls, threads: int = 1) -> "Session":
        return cls(os.environ[FILE_VARIABLE], threads)

    def run(self, feeds: Mapping[str, Any]) -> list[Any]:
        outputs: list[Any] = self.session.run(self.names, dict(feeds))
        return outputs

    def of_json(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The tensors of a request in JSON to the document of the answer."""
        arrays = self.run({i["name"]: np.array(i["data"], dtype=DTYPES[i["datatype"]]).reshape(i["shape"]) for i in inputs})
        outputs = [
            {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}
            for (name, datatype), array in zip(self.outputs, arrays, strict=True)
        ]
        return {"model_name": os.environ[NAME_VARIABLE], "model_version": "1", "outputs": outputs}

    def of_binary(self, body: bytes, header_length: int) -> tuple[bytes, int]:
        """A request in the binary extension to the body of the answer and the length of its JSON."""
        feeds, at = {}, header_length
        for entry in json.loads(body[:header_length])["inputs"]:
            dtype = np.dtype(DTYPES[entry["datatype"]])
            count = entry["parameters"]["binary_data_size"] // dtype.itemsize
            feeds[entry["name"]] = np.frombuffer(body, dtype, count, at).reshape(entry["shape"])
            at += count * dtype.itemsize
        arrays = self.run(feeds)
        outputs = [
            {"name": name, "datatype": datatype, "shape": list(array.shape), "parameters": {"binary_data_size": array.nbytes}}
            for (name, datatype), array in zip(self.outputs, arrays, strict=True)
        ]
        header = json.dumps({"model_name": os.environ[NAME_VARIABLE], "model_version": "1", "outputs": outputs}).encode()
        return header + b"".join(array.tobytes() for array in arrays), len(header)

    def of_message(self, request: Any, response: Any) -> Any:
        """A ModelInferRequest to a filled ModelInferResponse; tensors are raw on both sides."""
        feeds = {
            tensor.name: np.frombuffer(raw, dtype=DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        response.model_name, response.model_version = request.model_name, "1"
        for (name, datatype), array in zip(self.outputs, self.run(feeds), strict=True):
            response.outputs.add(name=name, datatype=datatype).shape.extend(array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response
