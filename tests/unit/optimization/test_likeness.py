"""How alike answers are, held against what can be counted by hand."""

from typing import Any

import msgspec
import numpy as np
import pytest

from aweigh.core.signature import BATCH, Signature, Task, TensorSpec
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


def drawn(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def of(task: Task, *outputs: TensorSpec) -> Signature:
    return msgspec.structs.replace(signature(*outputs), task=task)


def output(*axes: int | str, name: str = "y", role: str = "") -> TensorSpec:
    return TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH, *axes), role=role)


@pytest.mark.parametrize(
    "numbers",
    [
        of(Task.REGRESSION, output(2, role="prediction")),
        of(Task.TRANSFORM, output(2)),
        of(Task.GENERAL, output(2)),  # the second is always the greater, so that its place tells nothing
        of(Task.GENERAL, output(2), TensorSpec(name="count", datatype=Datatype.INT64, shape=(BATCH,))),
    ],
)
def test_of_several_targets_each_is_held_against_its_own_spread(numbers: Signature) -> None:
    one = drawn(300, 2) * np.array([1, 5], dtype=np.float32) + np.array([0, 50], dtype=np.float32)
    elsewhere = drawn(300, 2, seed=1) * np.array([1, 100], dtype=np.float32) + np.array([0, 500], dtype=np.float32)
    more = [np.zeros(300, dtype=np.int64)] * (len(numbers.outputs) - 1)
    assert not agreeing(numbers, [one, *more], [elsewhere, *more]).any()
    near = one + one.std(axis=0) * np.array([0.009, 0.009], dtype=np.float32)
    assert agreeing(numbers, [one, *more], [near, *more]).all()
    near[7, 0] += 0.01  # of the narrower of the two
    assert np.flatnonzero(~agreeing(numbers, [one, *more], [near, *more])).tolist() == [7]


def test_scores_of_several_labels_are_numbers_each() -> None:
    """Sigmoids have nothing to do with each other: the largest in its place says nothing of the others."""
    several = of(Task.GENERAL, output(4, name="probabilities", role="probability"))
    one = 1 / (1 + np.exp(-drawn(200, 4)))
    other = one.copy()
    other[:, :] = np.where(one == one.max(axis=1, keepdims=True), one, 0)
    assert agreeing(several, [one], [one]).all()
    assert not agreeing(several, [one], [other]).any()
    choice = np.exp(drawn(200, 4))
    choice /= choice.sum(axis=1, keepdims=True)
    sharper = choice**2 / (choice**2).sum(axis=1, keepdims=True)
    assert agreeing(several, [choice], [sharper]).all()
    assert agreeing(of(Task.CLASSIFICATION, output(4, role="probability")), [one], [other]).all()


@pytest.mark.parametrize(("name", "length"), [("y", True), ("sentence_embedding", False)])
def test_vectors_are_numbers(name: str, *, length: bool) -> None:
    vectors = drawn(100, 8)
    if length:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    moved = np.where(vectors == vectors.max(axis=1, keepdims=True), vectors, -vectors)
    assert not agreeing(of(Task.GENERAL, output(8, name=name)), [vectors], [moved]).any()
    assert agreeing(of(Task.GENERAL, output(8)), [drawn(100, 8)], [drawn(100, 8) * 3]).all()


@pytest.mark.parametrize(("axes", "axis"), [(("tokens", 5), 2), (("few", 5), 2), ((5, 16, 16), 1), ((16, 16, 5), 3)])
def test_of_several_choices_a_row_all_count(axes: tuple[int | str, ...], axis: int) -> None:
    """Tokens that are told apart, and pixels: each has scores of its own."""
    scores = drawn(50, *({"tokens": 16, "few": 3}.get(size, size) for size in axes))
    chances = np.exp(scores) / np.exp(scores).sum(axis=axis, keepdims=True)
    for name, one in (("logits", scores), ("y", chances)):
        spec = of(Task.GENERAL, output(*axes, name=name))
        other = one * 2
        assert agreeing(spec, [one], [other]).all()
        at = [3, *([0] * len(axes))]
        at[axis] = int(np.moveaxis(one, axis, -1)[3].reshape(-1, 5)[0].argmin())
        other[tuple(at)] += 100  # one place of many
        assert np.flatnonzero(~agreeing(spec, [one], [other])).tolist() == [3]
    pictures = of(Task.GENERAL, output(*axes))
    assert not agreeing(pictures, [scores], [scores * 2]).any(), "nothing tells that they are scores"


def test_what_is_within_tolerance_agrees_however_narrow_the_spread_is() -> None:
    one = np.ones((20, 2), dtype=np.float32)
    assert agreeing(of(Task.REGRESSION, output(2)), [one], [one + np.float32(5e-5)]).all()
    assert not agreeing(of(Task.REGRESSION, output(2)), [one], [one + np.float32(5e-4)]).any()


def test_numbers_that_are_none_agree_with_their_like() -> None:
    one = drawn(20, 2)
    one[4, 1], one[5, 0] = np.nan, np.inf
    numbers = of(Task.REGRESSION, output(2))
    assert agreeing(numbers, [one], [one]).all()
    other = one.copy()
    other[4, 1], other[5, 0], other[6, 0] = 0, -np.inf, np.nan
    assert np.flatnonzero(~agreeing(numbers, [one], [other])).tolist() == [4, 5, 6]
