"""Labels that a person gives against those of the model: other words and another order are refused, an ordinary model is not."""

import numpy as np
import pytest

from aweigh.core.errors import InvalidInput, ProofFailed
from aweigh.packing.label_order import accuracy_in_order

LABELS = ("calm", "rough", "storm")


def _answers(order: tuple[int, ...], *, right: float, rows: int = 90) -> tuple[list[str], list[str]]:
    """What is true, and what a model answers that is right so often once its labels are put into order."""
    random = np.random.default_rng(3)
    true = random.integers(0, 3, rows)
    answered = np.where(random.random(rows) < right, true, random.integers(0, 3, rows))
    return [LABELS[at] for at in true], [LABELS[order[at]] for at in answered]


def test_a_good_and_a_bad_model_pass_with_their_accuracy() -> None:
    for right in (0.0, 0.5, 0.95):
        true, answered = _answers((0, 1, 2), right=right)
        found = accuracy_in_order(LABELS, np.array(true, dtype=object), answered)
        assert found == pytest.approx(np.mean([a == b for a, b in zip(true, answered, strict=True)]))


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1)], ids=["swapped", "turned"])
def test_another_order_is_refused_with_the_pairs(order: tuple[int, ...]) -> None:
    true, answered = _answers(order, right=0.9)
    with pytest.raises(ProofFailed, match=f"'calm' is answered '{LABELS[order[0]]}'"):
        accuracy_in_order(LABELS, np.array(true, dtype=object), answered)


def test_labels_by_number_and_labels_that_the_model_lacks() -> None:
    assert accuracy_in_order(LABELS, np.array([0, 2, 1]), ["calm", "storm", "calm"]) == pytest.approx(2 / 3)
    with pytest.raises(InvalidInput, match="labels hold 3"):
        accuracy_in_order(LABELS, np.array([0, 3]), ["calm", "calm"])
    with pytest.raises(InvalidInput, match="'gale', which the model does not have"):
        accuracy_in_order(LABELS, np.array(["calm", "gale"], dtype=object), ["calm", "calm"])
