"""What a shadow finds: equal to what anyone computes from the same inputs and answers."""

import hypothesis.strategies as st
import msgspec
import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp
from tests.serving.kit import signature

from aweigh.core.rollout import ENDLESS, MAX_OFFENCES, Compared
from aweigh.core.signature import BATCH, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine.strays import added, compared

SCORES = hnp.arrays(np.float32, (5, 3), elements=st.floats(0, 1, width=32))
LABELS = hnp.arrays(np.int64, (5,), elements=st.integers(0, 2))
ROWS = {"X": np.arange(20, dtype=np.float32).reshape(5, 4)}


@given(a=SCORES, b=SCORES, one=LABELS, other=LABELS)
def test_figures_are_those_of_an_offline_comparison(a: np.ndarray, b: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    found = compared(signature(), ROWS, [one, a], [other, b])
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    assert (found.calls, found.rows, found.numbers) == (1, 5, 15)
    assert found.flips == int((one != other).sum())
    assert found.max_abs == gap.max()
    assert np.isclose(found.mean_abs, gap.mean())
    assert found.mismatches == int((one != other).sum()) + int((gap > 1e-5 + 1e-4 * np.abs(a)).sum())
    assert len(found.offences) <= MAX_OFFENCES


@given(parts=st.lists(st.tuples(SCORES, SCORES, LABELS, LABELS), min_size=1, max_size=4))
def test_calls_add_up_in_any_order(parts: list[tuple[np.ndarray, ...]]) -> None:
    each = [compared(signature(), ROWS, [one, a], [other, b]) for a, b, one, other in parts]
    total, turned = added(each), added(reversed(each))
    assert (total.calls, total.rows, total.flips, total.mismatches, total.max_abs) == (turned.calls, turned.rows, turned.flips, turned.mismatches, turned.max_abs)  # fmt: skip
    assert total.rows == 5 * len(parts)
    assert np.isclose(total.sum_abs, turned.sum_abs)


def test_the_worst_rows_are_shown_with_their_inputs_and_both_answers() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    stable, candidate = np.zeros((5, 3), np.float32), np.zeros((5, 3), np.float32)
    candidate[3, 0] = 0.5
    other = labels.copy()
    other[1] = 2
    found = compared(signature(), ROWS, [labels, stable], [other, candidate])
    first, second = found.offences
    assert (first.flipped, first.stable["label"], first.candidate["label"]) == (True, "1", "2")
    assert "a=4.0" in first.inputs
    assert (second.flipped, second.max_abs) == (False, 0.5)
    assert second.candidate["scores"].startswith("[0.5")


def test_a_classifier_without_labels_flips_where_another_class_is_likeliest() -> None:
    of = signature(outputs=(TensorSpec(name="scores", datatype=Datatype.FP32, shape=(BATCH, 3), role="probability"),))
    a = np.array([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25]], np.float32)
    b = np.array([[0.5, 0.4, 0.1], [0.34, 0.36, 0.3]], np.float32)
    assert compared(of, {"X": np.zeros((2, 4), np.float32)}, [a], [b]).flips == 1


def test_numbers_that_are_none_differ_from_numbers_and_not_from_each_other() -> None:
    labels = np.zeros(2, np.int64)
    a = np.array([[np.nan, np.inf, 0], [np.nan, 1, 0]], np.float32)
    b = np.array([[np.nan, np.inf, 0], [0, 1, 0]], np.float32)
    found = compared(signature(), {"X": np.zeros((2, 4), np.float32)}, [labels, a], [labels, b])
    assert (found.mismatches, found.max_abs) == (1, ENDLESS)
    assert found.offences[0].max_abs == ENDLESS
    total = added([Compared(), found, found])
    assert (total.max_abs, total.sum_abs) == (ENDLESS, ENDLESS)
    assert msgspec.json.decode(msgspec.json.encode(total), type=Compared) == total, "a record that holds it can be read again"
