"""What clients of a server in trouble ask, and how they know a right answer: by comparing it with what was computed beside the server.

Used by `load`, for both protocols. An answer that was found right once needs no second look: the same bytes are right again.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from tests.serving.kit import INFER
from tests.serving.models import WEIGHTS

from aweigh.bench.plan import Question, Target
from aweigh.protos import message

Outputs = Mapping[str, np.ndarray]
ROW = (1.0, 2.0, 3.0, 4.0)
SCORES: Outputs = {"scores": np.array([ROW], np.float32) @ WEIGHTS}
"""What `linear` answers to ROW."""
_Answer = message("inference.ModelInferResponse")


class Asking:
    """One request of a model and the answers that are right: of any version, or by version. Without any, every answer will do."""

    def __init__(
        self,
        model: str = "linear",
        row: Sequence[float] = ROW,
        *,
        right: Outputs | Mapping[str, Outputs] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.model = model
        self.row = tuple(row)
        self.headers = tuple(headers)
        self._right = SCORES if right is None and model == "linear" and self.row == ROW else right
        self._known: dict[bytes, str] = {}

    def target(self, protocol: str, port: int) -> Target:
        """Where it is asked."""
        path = INFER if protocol == "grpc" else f"/v2/models/{self.model}/infer"
        return Target(protocol="grpc" if protocol == "grpc" else "http", host="127.0.0.1", port=port, path=path, headers=self.headers)

    def question(self, protocol: str) -> Question:
        """What is asked."""
        if protocol == "grpc":
            asked = message("inference.ModelInferRequest")(model_name=self.model)
            asked.inputs.add(name="X", datatype="FP32", shape=[1, len(self.row)])
            asked.raw_input_contents.append(np.array(self.row, dtype="<f4").tobytes())
            return Question(body=asked.SerializeToString())
        tensor = {"name": "X", "shape": [1, len(self.row)], "datatype": "FP32", "data": list(self.row)}
        return Question(body=json.dumps({"inputs": [tensor]}).encode())

    def version(self, protocol: str, body: bytes) -> str:
        """The version that gave this answer. Raises ValueError for one that is wrong."""
        found = self._known.get(body)
        if found is None:
            found, outputs = _grpc_answer(body) if protocol == "grpc" else _json_answer(body)
            self._check(found, outputs)
            self._known[body] = found
        return found

    def _check(self, version: str, outputs: Outputs) -> None:
        right = self._right
        if right is None:
            return
        if any(isinstance(each, Mapping) for each in right.values()):
            if version not in right:
                raise ValueError(f"an answer of version {version!r}, which nobody expects")
            right = right[version]  # type: ignore[assignment]
        for name, values in right.items():
            if not np.allclose(outputs[name], np.ravel(values), rtol=1e-5):
                raise ValueError(f"{name} of version {version} is {outputs[name].tolist()}, and should be {np.ravel(values).tolist()}")


def _json_answer(body: bytes) -> tuple[str, Outputs]:
    said = json.loads(body)
    return said.get("model_version", ""), {output["name"]: np.array(output["data"]) for output in said["outputs"]}


def _grpc_answer(body: bytes) -> tuple[str, Outputs]:
    said = _Answer.FromString(body)
    kinds = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4"}
    raw = zip(said.outputs, said.raw_output_contents, strict=False)
    return said.model_version, {
        output.name: np.frombuffer(data, kinds[output.datatype]) for output, data in raw if output.datatype in kinds
    }
