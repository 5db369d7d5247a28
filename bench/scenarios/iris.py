"""StandardScaler + LogisticRegression on iris, as ONNX: 4 floats in, a label and 3 probabilities out. So small that the server is what is timed."""

from pathlib import Path

import numpy as np
import onnx
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.workload import Workload


def prepare(folder: Path) -> Workload:
    features, classes = load_iris(return_X_y=True)
    features = features.astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, classes)
    file = folder / "iris.onnx"
    onnx.save(to_onnx(model, features[:1], options={"zipmap": False}), file)
    row = features[:1]
    return Workload(
        title="iris: 4 floats in, label and 3 probabilities out (ONNX Runtime, one thread)",
        model="iris",
        file=file,
        inputs={"X": row},
        expected={"label": model.predict(row), "probabilities": model.predict_proba(row)},
    )
