"""The arithmetic of built-in steps, and how branches split rows and put them together again."""

from functools import partial

import numpy as np
import pytest

from aweigh.core.errors import InternalError
from aweigh.core.pipeline import Condition, Operator
from aweigh.engine.pipelines.combine import Combination, holds, join_rows, largest, mean, side_by_side, vote, weighted_mean

A = np.array([[0.1, 0.9], [0.7, 0.3]], dtype=np.float32)
B = np.array([[0.3, 0.7], [0.2, 0.8]], dtype=np.float32)
C = np.array([[0.6, 0.4], [0.5, 0.5]], dtype=np.float64)


def test_a_mean_is_added_in_order_and_keeps_its_datatype() -> None:
    assert mean([A, B]).dtype == np.float32
    assert mean([A, B]).tobytes() == ((A + B) / np.float32(2)).tobytes()


def test_floats_of_two_widths_meet_in_the_wider() -> None:
    assert mean([A, C]).tobytes() == ((A.astype(np.float64) + C) / 2.0).tobytes()


def test_whole_numbers_have_a_mean_with_a_fraction() -> None:
    assert mean([np.array([1, 2]), np.array([2, 2])]).tolist() == [1.5, 2.0]


def test_weights_count_by_their_share() -> None:
    expected = (A * np.float32(3) + B * np.float32(1)) / np.float32(4)
    assert weighted_mean((3.0, 1.0), [A, B]).tobytes() == expected.tobytes()


def test_most_votes_win_and_the_first_of_equals() -> None:
    votes = [np.array(labels, dtype=object) for labels in (["a", "a", "c"], ["b", "a", "b"], ["b", "c", "a"])]
    assert vote(votes).tolist() == ["b", "a", "c"]


def test_the_largest_of_each_element() -> None:
    assert largest([A, B]).tolist() == np.maximum(A, B).tolist()


def test_concat_makes_columns_of_single_numbers() -> None:
    assert side_by_side([np.array([1.0, 2.0]), np.array([[3.0, 4.0], [5.0, 6.0]])]).tolist() == [[1, 3, 4], [2, 5, 6]]


def test_rows_come_back_in_the_order_of_the_request() -> None:
    some, others = np.array([0, 3]), np.array([1, 2])
    assert join_rows(4, [(np.array([10, 13]), some), (np.array([21, 22]), others)]).tolist() == [10, 21, 22, 13]


def test_of_two_that_have_a_row_the_first_is_taken() -> None:
    assert join_rows(3, [(np.array([9]), np.array([1])), (np.array([1, 2, 3]), None)]).tolist() == [1, 9, 3]


def test_a_branch_with_every_row_is_passed_on_as_it_is() -> None:
    whole = np.array([1, 2, 3])
    assert join_rows(3, [(np.array([]), np.array([], dtype=np.int64)), (whole, None)]) is whole


def test_branches_of_different_shapes_do_not_join() -> None:
    with pytest.raises(InternalError, match="different shapes"):
        join_rows(2, [(np.zeros((1, 2)), np.array([0])), (np.zeros((1, 3)), np.array([1]))])


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        (Operator.EQUAL, (1,), [False, True, False, False]),
        (Operator.DIFFERENT, (1,), [True, False, True, True]),
        (Operator.LESS, (1,), [True, False, False, False]),
        (Operator.LESS_OR_EQUAL, (1,), [True, True, False, False]),
        (Operator.GREATER, (1,), [False, False, True, False]),
        (Operator.GREATER_OR_EQUAL, (1,), [False, True, True, False]),
        (Operator.IN, (0, 2), [True, False, True, False]),
    ],
)
def test_conditions_and_what_is_no_number_holds_for_none(operator: Operator, values: tuple[int, ...], expected: list[bool]) -> None:
    tested = np.array([0.0, 1.0, 2.0, np.nan])
    assert holds(Condition(source="a.b", operator=operator, values=values), tested).tolist() == expected


@pytest.mark.parametrize("value", [0.1, 0.5, 3])
def test_in_says_the_same_as_equal(value: float) -> None:
    tested = np.array([0.1, 0.5, 3.0, np.nan], dtype=np.float32)
    expected = holds(Condition(source="a.b", operator=Operator.EQUAL, values=(value,)), tested).tolist()
    assert holds(Condition(source="a.b", operator=Operator.IN, values=(value, 7)), tested).tolist() == expected
    assert expected.count(True) == 1


@pytest.mark.parametrize("combine", [mean, partial(weighted_mean, (1.0, 1.0)), vote, largest])
def test_tensors_of_different_shapes_are_not_stretched(combine: Combination) -> None:
    for other in (A[:, :1], A[:1]):
        with pytest.raises(InternalError, match="different shapes"):
            combine([A, other])


def test_conditions_on_texts_take_bytes_as_well() -> None:
    tested = np.array([["de"], [b"fr"], [None]], dtype=object)
    assert holds(Condition(source="a.b", operator=Operator.IN, values=("de", "fr")), tested).tolist() == [True, True, False]
    assert holds(Condition(source="a.b", operator=Operator.DIFFERENT, values=("de",)), tested).tolist() == [False, True, True]


def test_a_condition_on_one_column() -> None:
    condition = Condition(source="a.b", operator=Operator.GREATER, values=(0.5,), column=1)
    assert holds(condition, A).tolist() == [True, False]
