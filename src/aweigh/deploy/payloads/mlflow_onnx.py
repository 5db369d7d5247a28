"""Loads the ONNX file of an MLflow model and answers data frames by column, or tensors by name. Made by `aweigh deploy --to mlflow`; needs onnxruntime and numpy.

MLflow's own loader lines up the answers of all outputs cell by cell, which only fits outputs of one column.
"""

import json
import os
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

import numpy as np
import onnxruntime

FACTS = "aweigh_model.json"


def _load_pyfunc(path: str) -> "Model":
    return Model(Path(path))


class Model:
    """What MLflow asks."""

    def __init__(self, file: Path) -> None:
        self.facts = json.loads((file.parent / FACTS).read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.facts["threads"]
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(self.facts["graph_optimization_level"])
        self.session = onnxruntime.InferenceSession(str(file), options, providers=self.facts["providers"])

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """A data frame for a data frame; for tensors (a dict, or one array) a dict of tensors."""
        if hasattr(data, "columns"):
            import pandas as pd  # only where MLflow has a frame at hand

            return pd.DataFrame(self._columns(self._run(self._of_frame(data))), index=data.index)
        names = [each["name"] for each in self.facts["inputs"]]
        return self._run(data if isinstance(data, dict) else {names[0]: data})

    def _run(self, tensors: dict[str, Any]) -> dict[str, Any]:
        feeds = {each["name"]: _as(tensors[each["name"]], each["dtype"], self.facts["missing_text"]) for each in self.facts["inputs"]}
        outputs = self.facts["outputs"]
        given = self.session.run([each["name"] for each in outputs], feeds)
        return {each["name"]: _shaped(array, each) for each, array in zip(outputs, given, strict=True)}

    def _of_frame(self, frame: Any) -> dict[str, Any]:
        tensors: dict[str, Any] = {}
        for column in self.facts["columns"]:
            values = frame[column["name"]].to_numpy()
            if column["width"] == 0:
                tensors[column["input"]] = values
            else:
                empty = [np.empty((len(frame), column["width"]), dtype=object)]
                tensors.setdefault(column["input"], *empty)[:, column["index"]] = values
        return tensors

    def _columns(self, answers: dict[str, Any]) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for each in self.facts["outputs"]:
            array = answers[each["name"]]
            names = each["columns"]
            if len(names) == 1 and array.ndim <= 2 and array.size == len(array):
                columns[names[0]] = array.reshape(-1)
            elif len(names) == 1:
                columns[names[0]] = array.tolist()
            else:
                columns |= {name: array[:, at] for at, name in enumerate(names)}
        return columns


def _as(values: Any, dtype: str, missing_text: str | None) -> Any:
    array = np.asarray(values)
    if dtype != "object":
        return array.astype(dtype)
    flat = [missing_text if item is None or item != item else item for item in array.ravel().tolist()]  # NaN
    return np.array(flat, dtype=object).reshape(array.shape)


def _shaped(array: Any, output: dict[str, Any]) -> Any:
    if array.ndim == output["rank"] + 1:
        array = array.reshape(array.shape[:-1])
    elif array.ndim == output["rank"] - 1:
        array = array.reshape((*array.shape, 1))
    return array if output["dtype"] == "object" else array.astype(output["dtype"])
