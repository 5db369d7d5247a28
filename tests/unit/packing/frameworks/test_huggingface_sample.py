"""Which columns of a sample are texts; which texts are always asked."""

import numpy as np
import pandas as pd
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.packing.frameworks.huggingface_sample import MADE_TEXTS, ODD_TEXTS, odd_rows, text_rows


def test_columns_of_text_are_taken_whatever_their_names_and_labels_are_not() -> None:
    frame = pd.DataFrame({"review": ["good", "bad"], "stars": [5, 1], "Label": ["pos", "neg"]})
    (column,) = text_rows(frame)
    assert (column.shape, column.ravel().tolist()) == ((2, 1), ["good", "bad"])
    first, second = text_rows(pd.DataFrame({"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 1]}))
    assert (first.ravel().tolist(), second.ravel().tolist()) == (["a", "b"], ["c", "d"])
    assert [each.ravel().tolist() for each in text_rows(["one", "two"])] == [["one", "two"]]
    assert len(text_rows({"a": np.array(["x", "y"]), "b": np.array(["z", "w"])})) == 2


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (pd.DataFrame({"n": [1, 2]}), r"0 columns of text \(n\)"),
        (pd.DataFrame({name: ["x", "y"] for name in "abc"}), r"3 columns of text \(a, b, c\)"),
        (pd.DataFrame({"text": ["x", None]}), "row 1 of the sample has no text"),
    ],
    ids=["numbers", "three", "missing"],
)
def test_a_sample_without_texts_is_refused(sample: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        text_rows(sample)


def test_odd_texts_stand_alone_and_on_either_side_of_a_pair() -> None:
    assert odd_rows(("text",))["text"].ravel().tolist() == ODD_TEXTS
    pairs = odd_rows(("question", "context"))
    assert pairs["question"].shape == pairs["context"].shape == (3 * len(ODD_TEXTS), 1)
    beside = set(zip(pairs["question"].ravel(), pairs["context"].ravel(), strict=True))
    assert {(odd, MADE_TEXTS[0]) for odd in ODD_TEXTS} | {(MADE_TEXTS[0], odd) for odd in ODD_TEXTS} <= beside
    assert any("ı" in text for text in ODD_TEXTS)
    assert any("\u0301" in text for text in ODD_TEXTS)
    assert any("\u200d" in text for text in ODD_TEXTS)
    assert "" in ODD_TEXTS
