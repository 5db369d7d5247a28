"""Trees of any library as plain arrays, and as the columns of ONNX's `TreeEnsemble` (ai.onnx.ml 5), which compares as exactly as the library does.

Filled by the readers of each library (`sklearn_trees.py`, `xgboost_trees.py`, …), written into graphs by `sklearn_trees.py` and `boosted_nodes.py`.
"""

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

MAX_LEAVES: Final = 3_000_000
_TENSORS: Final = frozenset({"nodes_splits", "leaf_weights", "nodes_modes", "membership_values"})


class Mode(enum.IntEnum):
    """How a node compares, by the operator's numbers: the true branch is the left one."""

    AT_MOST = 0
    BELOW = 1
    MEMBER = 6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree in arrays, one element a node; the root is the first. `values` holds leaves' weights, `target` the output they add to."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    leaf: NDArray[np.bool_]
    missing_left: NDArray[np.bool_]
    values: NDArray[np.float64]
    target: int
    mode: NDArray[np.uint8] | None = None
    """`Mode` of each node; None = all AT_MOST."""
    members: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """For each node of mode MEMBER: the values that go left."""


def lone_leaf(value: float, target: int) -> Tree:
    """A tree that answers the same for every row."""
    no, one = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    return Tree(
        feature=no,
        threshold=np.zeros(1),
        left=no,
        right=no,
        leaf=one,
        missing_left=~one,
        values=np.array([value], dtype=np.float64),
        target=target,
    )


def attributes(trees: Sequence[Tree], targets: int, *, single: bool = False) -> dict[str, Any]:
    """The operator's attributes. `single` compares and adds in float32, in the order of the trees; else in float64."""
    parts: dict[str, list[NDArray[Any]]] = {}
    roots, nodes, leaves = [], 0, 0
    dtype = np.float32 if single else np.float64
    for tree in trees:
        columns = _columns(tree, nodes, leaves, dtype)
        roots.append(nodes)
        nodes, leaves = nodes + len(columns["nodes_featureids"]), leaves + len(columns["leaf_weights"])
        for name, column in columns.items():
            parts.setdefault(name, []).append(column)
    joined = {name: np.concatenate(columns) for name, columns in parts.items()}
    if not len(joined["membership_values"]):
        del joined["membership_values"]
    found = {name: numpy_helper.from_array(array) if name in _TENSORS else array.tolist() for name, array in joined.items()}
    return {**found, "tree_roots": roots, "n_targets": targets, "aggregate_function": 1, "post_transform": 0}


def _columns(tree: Tree, nodes: int, leaves: int, dtype: type[np.floating[Any]]) -> dict[str, NDArray[Any]]:
    """One tree as the operator's columns; branches count from `nodes`, leaves from `leaves`. A lone leaf gets a branch to itself twice."""
    inner = np.flatnonzero(~tree.leaf)
    place = np.where(tree.leaf, leaves + np.cumsum(tree.leaf) - 1, nodes + np.cumsum(~tree.leaf) - 1)
    if not len(inner):
        inner, left, right = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    else:
        left, right = tree.left[inner], tree.right[inner]
    modes = np.zeros(len(inner), dtype=np.uint8) if tree.mode is None else tree.mode[inner].astype(np.uint8)
    sets = [np.array([*tree.members[node], np.nan], dtype=dtype) for node in inner.tolist() if node in tree.members]
    return {
        "nodes_featureids": np.maximum(tree.feature[inner], 0).astype(np.int64),
        "nodes_splits": tree.threshold[inner].astype(dtype),
        "nodes_modes": modes,
        "nodes_truenodeids": place[left].astype(np.int64),
        "nodes_trueleafs": tree.leaf[left].astype(np.int64),
        "nodes_falsenodeids": place[right].astype(np.int64),
        "nodes_falseleafs": tree.leaf[right].astype(np.int64),
        "nodes_missing_value_tracks_true": tree.missing_left[inner].astype(np.int64),
        "leaf_targetids": np.full(int(tree.leaf.sum()), tree.target, dtype=np.int64),
        "leaf_weights": tree.values[tree.leaf].astype(dtype),
        "membership_values": np.concatenate([np.zeros(0, dtype=dtype), *sets]),
    }
