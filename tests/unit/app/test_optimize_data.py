"""What a search's rows are measured by: the budget's metrics, of single classes too, on the rows that count."""

from typing import Any, cast

import numpy as np
import pytest

from aweigh.app.optimize_data import Data, measure, read_data
from aweigh.core.evidence import Strength
from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.evaluation.metrics import METRICS, better
from aweigh.optimization.budget import parse_budget
from aweigh.optimization.material import split

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 2)),),
    outputs=(TensorSpec(name="label", datatype=Datatype.INT64, shape=(BATCH,), role="label"),),
    task=Task.CLASSIFICATION,
)


def test_the_metric_of_one_class_is_measured_where_the_budget_names_it() -> None:
    right = [0, 0, 1, 1, 1, 2]
    data = Data(source="", tensors={}, right=right, split=split(6, calibration=False), strength=Strength.FULL)
    budget = parse_budget("recall[1] >= 99%, agreement >= 99%", better, tuple(METRICS))
    answers = [np.array([0, 0, 1, 2, 1, 2])]
    found = measure(SIGNATURE, data, budget, answers, [np.array(right)], np.arange(6))
    assert found["recall[1]"].value == 2 / 3
    assert found["agreement"].value == found["accuracy"].value == 5 / 6
    assert [name for name in found if "[" in name] == ["recall[1]"]
    found = measure(SIGNATURE, data, budget, answers, [np.array(right)], np.arange(3))
    assert found["recall[1]"].value == 1


class Package:
    """As much of one as reading rows takes."""

    def __init__(self) -> None:
        outputs = (TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 2)),)
        self.manifest = type("Manifest", (), {"session_signature": Signature(inputs=SIGNATURE.inputs, outputs=outputs)})()


@pytest.mark.parametrize(("rows", "strength"), [(2, Strength.WEAK), (123, Strength.WEAK), (124, Strength.FULL)])
def test_few_rows_are_a_weak_proof(rows: int, strength: Strength) -> None:
    """Those that judge count: a fifth goes to calibration."""
    data = read_data(cast("Any", Package()), {"x": np.ones((rows, 2), np.float32)}, None, calibration=True)
    assert data.strength is strength
