"""What two packages are found to differ in: numbers, labels, ranks, and in nothing."""

from typing import Any

import numpy as np
import pytest

from aweigh.core.errors import Unsupported
from aweigh.core.signature import Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.evaluation.differences import Answered, DiffReport, bounds_of, outputs_diff, pair_outputs
from aweigh.evaluation.differences_page import differences_page

INPUT = TensorSpec(name="X", datatype=Datatype.FP32, shape=("batch", 1))


def spec(name: str, datatype: Datatype = Datatype.FP32, role: str = "", width: int = 0) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=("batch", width) if width else ("batch",), role=role)


def signature(*outputs: TensorSpec, **more: Any) -> Signature:
    return Signature(inputs=(INPUT,), outputs=outputs, **more)


def answered(first: list[Any], second: list[Any]) -> Answered:
    rows = len(first[0])
    inputs = {"X": np.arange(rows, dtype=np.float32).reshape(-1, 1)}
    return Answered(case="data", inputs=inputs, first=[np.asarray(one) for one in first], second=[np.asarray(one) for one in second])


def report(outputs: Any, worst: Any, flips: int, moved: int | None, rows: int) -> DiffReport:
    return DiffReport(
        first="a:1",
        second="b:1",
        digests=("x", "y"),
        data="<d>",
        rows=rows,
        outputs=tuple(outputs),
        flips=flips,
        rank_changes=moved,
        worst=tuple(worst),
    )


def test_numbers_and_their_worst_rows() -> None:
    both = signature(spec("y"))
    first, second = np.float32([0, 1, 2, 300, np.nan]), np.float32([0, 1, 2.5, 301, np.nan])
    outputs, worst, flips, moved = outputs_diff((both, both), [answered([first], [second])])
    one = outputs[0]
    assert (one.rows_changed, one.max_abs, flips, moved) == (2, 1.0, 0, None)
    assert one.decades["equal"] == 3
    assert one.decades["< 1e0"] == one.decades["< 1e1"] == 1
    assert sum(one.decades.values()) == 5
    assert [(row.row, row.gap) for row in worst] == [(3, 1.0), (2, 0.5)]
    assert worst[0].inputs == "X=[3.0]"
    found = report(outputs, worst, flips, moved, 5)
    assert [bound.passed for bound in bounds_of(found, max_difference=1.0, max_flips=0.0)] == [True, True]
    assert not bounds_of(found, max_difference=0.99, max_flips=None)[0].passed
    assert "&lt;d&gt;" in differences_page(found)


def test_what_is_not_finite_is_beyond_any_bound() -> None:
    both = signature(spec("y"))
    outputs, worst, *_ = outputs_diff((both, both), [answered([np.float32([1, 2])], [np.float32([np.nan, 2])])])
    assert outputs[0].max_abs is None
    assert worst[0].gap is None
    assert not bounds_of(report(outputs, worst, 0, None, 2), max_difference=1e30, max_flips=None)[0].passed


def test_labels_flip_by_row_and_probabilities_go_by_label() -> None:
    one = signature(spec("label", Datatype.BYTES, "label"), spec("p", role="probability", width=2), labels=("no", "yes"))
    two = signature(spec("q", role="probability", width=2), spec("class", Datatype.BYTES, "label"), labels=("yes", "no"))
    first = [np.array(["no", "yes", "yes"], dtype=object), np.float32([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])]
    second = [np.float32([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]]), np.array(["no", "yes", "no"], dtype=object)]
    outputs, worst, flips, _ = outputs_diff((one, two), [answered(first, second)])
    assert flips == 1
    assert {output.name: output.rows_changed for output in outputs} == {"label": 1, "p": 1}
    assert worst[0].output == "label"
    assert (worst[0].first, worst[0].second) == ("'yes'", "'no'")


def test_without_labels_the_largest_score_flips() -> None:
    both = signature(spec("logits", width=3))
    _, _, flips, _ = outputs_diff((both, both), [answered([np.float32([[1, 2, 3], [3, 2, 1]])], [np.float32([[1, 2, 3.1], [2, 3, 1]])])])
    assert flips == 1


def test_ranks() -> None:
    both = signature(spec("score"), task=Task.RANKING)
    _, _, _, moved = outputs_diff((both, both), [answered([np.float32([1, 2, 3])], [np.float32([1, 3.5, 3])])])
    assert moved == 2


def test_other_shapes_and_other_outputs() -> None:
    one, two = signature(spec("y", width=2), spec("z")), signature(spec("y", width=2), spec("w"))
    pairs, notes = pair_outputs(one, two)
    assert [pair.spec.name for pair in pairs] == ["y"]
    assert notes == ["only the first gives 'z'", "only the second gives 'w'"]
    outputs, *_ = outputs_diff((one, two), [answered([np.ones((2, 2), np.float32), np.ones(2)], [np.ones((2, 3), np.float32), np.ones(2)])])
    assert "shape" in outputs[0].problem
    assert outputs[0].rows_changed == 2
    with pytest.raises(Unsupported, match="no output in common"):
        pair_outputs(signature(spec("a")), signature(spec("b")))
