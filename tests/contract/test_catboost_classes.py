"""CatBoost's classes come from the probabilities that were asked for anyway, and are the library's own all the same: with a threshold, with ties, with several classes."""

from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest

from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.runtimes.catboost import CatboostRuntime

RANDOM = np.random.default_rng(3)
ROWS = RANDOM.normal(size=(300, 4)).astype(np.float32)


def model(classes: int, threshold: float | None = None) -> Any:
    target = np.digitize(ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2], np.linspace(-1, 1, classes + 1)[1:-1])
    made = catboost.CatBoostClassifier(iterations=4, depth=3, thread_count=1, random_seed=1, verbose=False, allow_writing_files=False)
    made.fit(ROWS, target)
    if threshold is not None:
        made.set_probability_threshold(threshold)
    return made


@pytest.mark.parametrize(("classes", "threshold"), [(2, None), (2, 0.6), (2, 0.5), (4, None)])
def test_labels_are_the_librarys_own(classes: int, threshold: float | None, tmp_path: Path) -> None:
    made = model(classes, threshold)
    made.save_model(tmp_path / "model.cbm")
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 4)),),
        outputs=(
            TensorSpec(name="label", datatype=Datatype.INT64, shape=(BATCH,), role="label"),
            TensorSpec(name="probability", datatype=Datatype.FP64, shape=(BATCH, classes), role="probability"),
        ),
        task=Task.CLASSIFICATION,
        labels=tuple(range(classes)),
    )
    variant = Variant(name="catboost", runtime="catboost", precision="native", files=("model.cbm",))
    session = CatboostRuntime().load(variant, signature, lambda file: tmp_path / file)
    try:
        label, probability = session.run({"x": ROWS})
    finally:
        session.close()
    np.testing.assert_array_equal(label, made.predict(ROWS).reshape(-1))
    np.testing.assert_array_equal(probability, made.predict_proba(ROWS))
    if threshold == 0.6:
        assert (label != probability.argmax(axis=1)).any(), "the threshold decides here"
