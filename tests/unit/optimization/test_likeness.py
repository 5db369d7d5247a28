"""How alike answers are, held against what can be counted by hand."""

import numpy as np
import pytest

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.optimization.likeness import agreeing, likeness, nearest_of


def signature(*outputs: TensorSpec) -> Signature:
    return Signature(inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 2)),), outputs=outputs)


SCORES = signature(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 3)))
NUMBER = signature(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 1)))


def test_the_place_of_the_largest_score() -> None:
    one = np.array([[1, 2, 3], [3, 2, 1], [0, 1, 0]], dtype=np.float32)
    other = np.array([[0, 5, 9], [3, 4, 1], [0, 1, 0]], dtype=np.float32)
    assert agreeing(SCORES, [one], [other]).tolist() == [True, False, True]


def test_labels_decide_where_there_are_some() -> None:
    labelled = signature(
        TensorSpec(name="label", datatype=Datatype.BYTES, shape=(BATCH,), role="label"),
        TensorSpec(name="p", datatype=Datatype.FP32, shape=(BATCH, 2), role="probability"),
    )
    chances = np.array([[0.4, 0.6], [0.6, 0.4]], dtype=np.float32)
    one = [np.array(["a", "b"], dtype=object), chances]
    assert agreeing(labelled, one, [np.array(["a", "c"], dtype=object), chances]).tolist() == [True, False]


def test_one_number_agrees_within_a_hundredth_of_the_spread() -> None:
    one = np.array([[0.0], [100.0]], dtype=np.float32)  # a standard deviation of 50
    assert agreeing(NUMBER, [one], [one + np.array([[0.49], [0.51]], dtype=np.float32)]).tolist() == [True, False]


def test_answers_of_another_shape_agree_nowhere() -> None:
    assert not agreeing(SCORES, [np.zeros((2, 3), np.float32)], [np.zeros((2, 4), np.float32)]).any()


def test_the_interval_of_a_share_is_wilsons() -> None:
    """Of 99 of 100, after Wilson (1927): 0.9455 to 0.9982."""
    one = np.zeros((100, 3), dtype=np.float32)
    one[:, 0] = 1
    other = one.copy()
    other[0] = [0, 1, 0]
    found = likeness("agreement", SCORES, [one], [other])
    assert (found.value, found.low, found.high) == pytest.approx((0.99, 0.9455, 0.9982), abs=1e-4)


def test_neighbours() -> None:
    vectors = np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.1]], dtype=np.float32)
    assert nearest_of(vectors.astype(np.float64)).tolist() == [1, 0, 3, 2]
    moved = vectors.copy()
    moved[3] = [1, 0, 0.05]
    assert likeness("neighbours", SCORES, [vectors], [vectors * 7]).value == 1
    assert likeness("neighbours", SCORES, [vectors], [moved]).value == 0.25  # only the second keeps the first
    assert likeness("cosine", SCORES, [vectors], [vectors * 7]).value == pytest.approx(1)


def test_rows_that_do_not_count_are_neighbours_and_no_more() -> None:
    """Rows that a pass was calibrated with, and those of the search, decide nothing of what is unseen."""
    vectors = np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.1]], dtype=np.float32)
    moved = vectors.copy()
    moved[3] = [1, 0, 0.05]
    for rows, kept in (([1], 1.0), ([2, 3], 0.0), ([0, 1], 0.5)):
        assert likeness("neighbours", SCORES, [vectors], [moved], np.array(rows)).value == kept
    for metric in ("agreement", "cosine"):
        assert likeness(metric, SCORES, [vectors], [moved], np.array([0, 1])).value == pytest.approx(1)
        assert likeness(metric, SCORES, [vectors], [moved], np.array([3])).value < 0.1


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
def test_what_is_not_finite_is_like_nothing(nothing: float) -> None:
    """Though of NaN the largest stands in the first place, and all distances to it are NaN."""
    one = np.array([[2, 1, 0], [2, 1.1, 0], [0, 1, 2], [0, 1.1, 2]], dtype=np.float32)
    other = one.copy()
    other[0] = nothing
    assert agreeing(SCORES, [one], [other]).tolist() == [False, True, True, True]
    assert nearest_of(other.astype(np.float64)).tolist()[2:] == [3, 2]
    assert likeness("neighbours", SCORES, [one], [other]).value == 0.5  # the first, and the second, whose neighbour it was
    assert likeness("cosine", SCORES, [one], [other]).value == pytest.approx(0.75)
    assert agreeing(SCORES, [other], [other]).all()


def test_a_label_made_of_nothing_agrees_with_none() -> None:
    labelled = signature(
        TensorSpec(name="label", datatype=Datatype.INT64, shape=(BATCH,), role="label"),
        TensorSpec(name="p", datatype=Datatype.FP32, shape=(BATCH, 2), role="probability"),
    )
    one = [np.array([0, 0]), np.array([[0.6, 0.4], [0.7, 0.3]], dtype=np.float32)]
    other = [np.array([0, 0]), np.array([[np.nan, np.nan], [0.6, 0.4]], dtype=np.float32)]
    assert agreeing(labelled, one, other).tolist() == [False, True]
