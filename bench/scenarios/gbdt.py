"""500 boosted trees over 30 features, from scikit-learn, as ONNX: a cheap model that is not free."""

from pathlib import Path

import numpy as np
import onnx
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from bench.scenarios.graphs import workload
from bench.workload import Workload

TREES = 500
FEATURES = 30


def prepare(folder: Path) -> Workload:
    rows, labels = make_classification(1500, FEATURES, n_informative=15, random_state=0)
    rows = rows.astype(np.float32)
    model = HistGradientBoostingClassifier(max_iter=TREES, max_depth=6, early_stopping=False, random_state=0)
    with threadpool_limits(1):  # threads that wait for each other in a loop are slow where others use the cores too
        model.fit(rows, labels)
    file = folder / "gbdt.onnx"
    onnx.save(to_onnx(model, rows[:1], options={"zipmap": False}), file)
    title = f"gbdt: {TREES} boosted trees, {FEATURES} floats in, label and 2 probabilities out"
    return workload(title, file, {"X": rows[:1]})
