"""How well the estimator does on the person's labels, for the manifest. Called by `frameworks/sklearn.py`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn import metrics

from aweigh.core.signature import Signature, Task
from aweigh.core.tensors import Tensor
from aweigh.runtimes.sklearn_estimator import answer


def metrics_of(
    estimator: Any, signature: Signature, rows: Mapping[str, Tensor], options: Mapping[str, Any], labels: Tensor
) -> dict[str, float]:
    """Accuracy and macro F1 (and ROC AUC of two classes), or R² and mean absolute error; nothing for another task."""
    answers = answer(estimator, signature, rows, options)
    first = np.asarray(answers[0])
    if signature.task is Task.CLASSIFICATION and first.ndim == 1:
        actual, expected = first.astype(str), _as_labels(labels, first).astype(str)
        found = {
            "accuracy": float(metrics.accuracy_score(expected, actual)),
            "f1_macro": float(metrics.f1_score(expected, actual, average="macro", zero_division=0)),
        }
        if len(signature.labels) == 2 and len(answers) > 1 and len(np.unique(expected)) == 2:
            found["roc_auc"] = float(metrics.roc_auc_score(expected == str(signature.labels[1]), answers[1][:, 1]))
        return found
    if signature.task is Task.REGRESSION and first.ndim == 1:
        expected = labels.astype(np.float64)
        return {"r2": float(metrics.r2_score(expected, first)), "mean_absolute_error": float(metrics.mean_absolute_error(expected, first))}
    return {}


def _as_labels(labels: Tensor, answers: Tensor) -> Tensor:
    return labels.astype(answers.dtype) if answers.dtype.kind in "biuf" and labels.dtype.kind in "biuf" else labels
