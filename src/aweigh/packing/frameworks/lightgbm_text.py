"""Reads LightGBM's text format into trees, judging every count and index before the library parses the same text. Called by `lightgbm.py`.

Pure reading: it runs nothing and imports no LightGBM. The format is that of LightGBM's `GBDT::SaveModelToString`, version v4 and before.
"""

import dataclasses
import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidFile
from aweigh.packing.frameworks.forest import Mode, Tree

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_ZERO, _NAN = 1, 2
"""Kinds of missing in bits 2 and 3 of a decision; 0 is none."""
_PANDAS: Final = "pandas_categorical:"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LightgbmText:
    """What the text says of the model."""

    trees: tuple[Tree, ...]
    features: int
    names: tuple[str, ...]
    outputs: int
    objective: tuple[str, ...]
    averaged: bool
    linear: bool
    categorical: frozenset[int]
    zero_missing: frozenset[int]
    pandas_categories: tuple[tuple[Any, ...], ...]
    """Lists of the categories of a frame's columns, in the order of the frame."""

    def parameter(self, name: str, default: float) -> float:
        """A number beside the objective: `sigmoid:0.7`."""
        found = next((part.partition(":")[2] for part in self.objective if part.startswith(f"{name}:")), "")
        return float(found) if found else default


def read_text(text: str, place: str) -> LightgbmText:
    """Read a whole model. Raises InvalidFile saying what is wrong."""
    try:
        return _read(text)
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise InvalidFile(f"{place}: not a sound LightGBM model: {error}"[:500], hint="the file is damaged: save it again") from error


def _read(text: str) -> LightgbmText:
    head, *blocks = text.split("\nTree=")
    header = _pairs(head)
    if not text.startswith("tree") or "max_feature_idx" not in header:
        raise ValueError("its header is not that of a model")
    features = int(header["max_feature_idx"]) + 1
    outputs = int(header["num_tree_per_iteration"])
    names, infos = header["feature_names"].split(), header["feature_infos"].split()
    if not 0 < features < 2**31 or not 0 < outputs < 2**20 or len(names) != features or len(infos) != features:
        raise ValueError(f"it counts {features} features, names {len(names)} and describes {len(infos)}")
    if "end of trees" not in text:
        raise ValueError("the end of its trees is missing")
    bodies = [_pairs(block.split("\nend of trees")[0]) for block in blocks]
    sizes = header.get("tree_sizes", "").split()
    if len(sizes) != len(bodies) or any(not size.isdigit() for size in sizes) or len(bodies) % outputs:
        raise ValueError(f"it announces {len(sizes)} trees and holds {len(bodies)}")
    _check_sizes(text, [int(size) for size in sizes])
    zeros: set[int] = set()
    others: set[int] = set()
    trees = tuple(_tree(body, at % outputs, features, zeros, others) for at, body in enumerate(bodies))
    if zeros & others:
        raise ValueError("one feature's zeros are missing in one tree and numbers in another")
    return LightgbmText(
        trees=trees,
        features=features,
        names=tuple(names),
        outputs=outputs,
        objective=tuple(header.get("objective", "").split()),
        averaged="average_output" in head.split("\n"),
        linear=any(body.get("is_linear", "0") != "0" for body in bodies),
        categorical=frozenset(at for at, info in enumerate(infos) if info != "none" and not info.startswith("[")),
        zero_missing=frozenset(zeros),
        pandas_categories=_pandas(text),
    )


def _check_sizes(text: str, sizes: list[int]) -> None:
    """The library jumps by these sizes (bytes from one `Tree=` to the next): each must lead there."""
    data = text.encode()
    at = data.find(b"\nTree=") + 1
    for number, size in enumerate(sizes):
        if not data.startswith(b"Tree=%d\n" % number, at):
            raise ValueError(f"tree_sizes do not lead to tree {number}")
        at += size
    if sizes and not data[at:].lstrip().startswith(b"end of trees"):
        raise ValueError("tree_sizes do not lead to the end of the trees")


def _pairs(block: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.split("\n"):
        name, equals, value = line.strip("\r").partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def _numbers(body: dict[str, str], name: str, count: int, dtype: Any) -> NDArray[Any]:
    words = body.get(name, "").split()
    if len(words) != count:
        raise ValueError(f"{name} has {len(words)} elements, {count} are needed")
    if dtype is np.float64:
        return np.array([float(word) for word in words], dtype=np.float64)
    limits = np.iinfo(dtype)
    values = [int(word) for word in words]
    if values and (min(values) < limits.min or max(values) > limits.max):
        raise ValueError(f"{name} holds a number out of range")
    return np.array(values, dtype=dtype)


def _tree(body: dict[str, str], target: int, features: int, zeros: set[int], others: set[int]) -> Tree:
    leaves, sets = int(body["num_leaves"]), int(body["num_cat"])
    if not 0 < leaves < 2**24 or not 0 <= sets < 2**24:
        raise ValueError(f"a tree of {leaves} leaves and {sets} sets")
    inner = leaves - 1
    weights = _numbers(body, "leaf_value", leaves, np.float64)
    feature = _numbers(body, "split_feature", inner, np.int64)
    threshold = _numbers(body, "threshold", inner, np.float64)
    decision = _numbers(body, "decision_type", inner, np.int8).astype(np.int64) & 0xFF
    left, right = (_children(_numbers(body, name, inner, np.int64), inner, leaves) for name in ("left_child", "right_child"))
    if inner and (feature.min() < 0 or feature.max() >= features):
        raise ValueError("a tree splits on a feature that the model does not have")
    _check_reach(left, right, inner, leaves)
    is_set = decision & _CATEGORICAL != 0
    members = _members(body, sets, threshold, is_set)
    kind = (decision >> 2) & 3
    zeros.update(feature[~is_set & (kind == _ZERO)].tolist())
    others.update(feature[~is_set & (kind != _ZERO)].tolist())
    # a model that saw no missing value takes one for zero
    missing = ~is_set & np.where(kind == 0, threshold >= 0.0, decision & _DEFAULT_LEFT != 0)
    none, ends = np.zeros(leaves, dtype=np.int64), np.ones(leaves, dtype=np.bool_)
    return Tree(
        feature=np.concatenate([feature, none]),
        threshold=np.concatenate([np.where(is_set, 0.0, threshold), none.astype(np.float64)]),
        left=np.concatenate([left, none]),
        right=np.concatenate([right, none]),
        leaf=np.concatenate([np.zeros(inner, dtype=np.bool_), ends]),
        missing_left=np.concatenate([missing, ~ends]),
        values=np.concatenate([np.zeros(inner), weights]),
        target=target,
        mode=np.concatenate([np.where(is_set, Mode.MEMBER, Mode.AT_MOST), none]).astype(np.uint8),
        members=members,
    )


def _children(given: NDArray[Any], inner: int, leaves: int) -> NDArray[Any]:
    """Places among all nodes: branches first, then leaves (written as -1 - leaf)."""
    if len(given) and (given.min() < -leaves or given.max() >= inner):
        raise ValueError("a tree points to a node that it does not have")
    return np.where(given >= 0, given, inner - 1 - given)


def _check_reach(left: NDArray[Any], right: NDArray[Any], inner: int, leaves: int) -> None:
    """Every node but the root is the child of exactly one: no circle, nothing shared."""
    if inner and not np.array_equal(np.sort(np.concatenate([left, right])), np.arange(1, inner + leaves)):
        raise ValueError("the nodes of a tree form no tree")


def _members(body: dict[str, str], sets: int, threshold: NDArray[np.float64], is_set: NDArray[np.bool_]) -> dict[int, tuple[int, ...]]:
    if not sets:
        if is_set.any():
            raise ValueError("a split on categories without their sets")
        return {}
    bounds = _numbers(body, "cat_boundaries", sets + 1, np.int64)
    if bounds[0] != 0 or np.any(np.diff(bounds) < 0) or bounds[-1] > 2**27:
        raise ValueError("cat_boundaries are out of order")
    words = _numbers(body, "cat_threshold", int(bounds[-1]), np.uint32)
    found: dict[int, tuple[int, ...]] = {}
    for node in np.flatnonzero(is_set).tolist():
        place = threshold[node]
        if not 0 <= place < sets or place != int(place):
            raise ValueError("a split on a set of categories that the tree does not have")
        chosen = words[bounds[int(place)] : bounds[int(place) + 1]]
        bits = np.unpackbits(chosen.astype("<u4").view(np.uint8), bitorder="little")
        found[node] = tuple(np.flatnonzero(bits).tolist())
    return found


def _pandas(text: str) -> tuple[tuple[Any, ...], ...]:
    line = next((line for line in reversed(text.rstrip().split("\n")[-3:]) if line.startswith(_PANDAS)), "")
    lists = json.loads(line.removeprefix(_PANDAS)) if line else None
    if lists is None:
        return ()
    if not isinstance(lists, list) or not all(isinstance(values, list) for values in lists):
        raise ValueError("pandas_categorical is no list of lists")
    return tuple(tuple(values) for values in lists)
