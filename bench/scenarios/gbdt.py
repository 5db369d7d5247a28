"""500 boosted trees over 30 features, from scikit-learn, as ONNX: a cheap model that is not free."""

from pathlib import Path

import numpy as np
import onnx
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier

from bench.scenarios.graphs import workload
from bench.workload import Workload

TREES = 500
FEATURES = 30


def prepare(folder: Path) -> Workload:
    rows, labels = make_classification(1500, FEATURES, n_informative=15, random_state=0)
    rows = rows.astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=TREES, max_depth=5, subsample=0.5, random_state=0).fit(rows, labels)
    file = folder / "gbdt.onnx"
    onnx.save(to_onnx(model, rows[:1], options={"zipmap": False}), file)
    title = f"gbdt: {TREES} boosted trees, {FEATURES} floats in, label and 2 probabilities out"
    return workload(title, file, {"X": rows[:1]})
