"""LightGBM's text: every count and index is judged before the library sees the file."""

import re

import lightgbm
import numpy as np
import pytest
from tests.trees.models import fitted, rows

from aweigh.core.errors import InvalidFile
from aweigh.packing.frameworks.lightgbm_text import read_text

SAMPLE = rows(300, 1, "lightgbm")


@pytest.fixture(scope="module")
def text() -> str:
    return str(fitted("lightgbm", "Regressor", 5, SAMPLE).booster_.model_to_string())


def test_what_a_sound_text_says(text: str) -> None:
    found = read_text(text, "model.txt")
    assert found.features == 5
    assert found.names == tuple(SAMPLE.columns)
    assert found.categorical == {1, 2}
    assert found.objective == ("regression",)
    assert found.pandas_categories[0] == tuple(SAMPLE["city"].cat.categories)
    assert len(found.trees) == 5
    assert lightgbm.Booster(model_str=text).num_trees() == 5


def fitting(text: str, more: int) -> str:
    """The text with the size of its first tree as it is now."""
    line = next(line for line in text.split("\n") if line.startswith("tree_sizes="))
    first, *others = line.removeprefix("tree_sizes=").split()
    return text.replace(line, "tree_sizes=" + " ".join([str(int(first) + more), *others]))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_feature_idx=4", "max_feature_idx=99999", "counts"),
        ("max_feature_idx=4", "max_feature_idx=-100", "counts"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=1000000000", "counts"),
        (r"left_child=-?\d+", "left_child=99999", "does not have"),
        (r"left_child=-?\d+", "left_child=-100", "does not have"),
        (r"left_child=-?\d+", "left_child=0", "form no tree"),
        ("split_feature=", "split_feature=77 ", "elements"),
        ("num_leaves=", "num_leaves=9", "elements"),
        ("num_leaves=", "num_leaves=-", "leaves"),
        ("tree_sizes=", "tree_sizes=99999999999 ", "announces"),
        ("tree_sizes=", "tree_sizes=1", "tree_sizes"),
        ("cat_boundaries=0 ", "cat_boundaries=7 ", "out of order"),
        ("end of trees", "end of tree", "missing"),
        ("tree\n", "bush\n", "header"),
    ],
)
def test_what_is_refused(text: str, old: str, new: str, words: str) -> None:
    found = re.search(old, text)
    assert found
    changed = text[: found.start()] + new + text[found.end() :]
    if found.start() > text.index("\nTree=0"):
        changed = fitting(changed, len(new) - len(found.group()))
    with pytest.raises(InvalidFile, match=words):
        read_text(changed, "model.txt")


def test_a_model_of_one_leaf_is_sound() -> None:
    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 100}, lightgbm.Dataset(np.zeros((20, 2)), np.arange(20.0)), 1)
    assert len(read_text(booster.model_to_string(), "model.txt").trees) <= 1
