"""Trees as arrays: the ONNX operator answers them as a plain walk does, in float32 and float64, sets and missing values included."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from aweigh.packing.frameworks.boosted import Boosted, Link, checked, smallest_from
from aweigh.packing.frameworks.forest import Mode, Tree, attributes, lone_leaf

FEATURES = 3
SETS = 2
"""The feature that is compared with sets."""


def random_tree(random: Any, depth: int, target: int) -> Tree:
    inner = 2**depth - 1
    order = np.arange(2 * inner + 1)
    leaf = order >= inner
    mode = np.where(random.random(len(order)) < 0.4, Mode.MEMBER, random.choice([Mode.BELOW, Mode.AT_MOST]))
    return Tree(
        feature=np.where(mode == Mode.MEMBER, SETS, random.integers(0, SETS, len(order))),
        threshold=np.round(random.normal(size=len(order)) * 4) / 4,
        left=2 * order + 1,
        right=2 * order + 2,
        leaf=leaf,
        missing_left=random.random(len(order)) < 0.5,
        values=random.normal(size=len(order)).astype(np.float32).astype(np.float64),
        target=target,
        mode=np.where(leaf, 0, mode).astype(np.uint8),
        members={
            int(node): tuple(sorted(random.choice(100, size=int(random.integers(1, 60)), replace=False).tolist()))
            for node in order[:inner]
            if mode[node] == Mode.MEMBER
        },
    )


def walk(tree: Tree, row: Any) -> float:
    node = 0
    while not tree.leaf[node]:
        value = row[tree.feature[node]]
        if np.isnan(value):
            left = tree.missing_left[node]
        elif node in tree.members:
            left = float(value) in tree.members[node]
        else:
            left = (
                value < tree.threshold[node] if tree.mode is not None and tree.mode[node] == Mode.BELOW else value <= tree.threshold[node]
            )
        node = tree.left[node] if left else tree.right[node]
    return float(tree.values[node])


def operator(trees: list[Tree], targets: int, *, single: bool) -> onnxruntime.InferenceSession:
    kind = TensorProto.FLOAT if single else TensorProto.DOUBLE
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **attributes(trees, targets, single=single))
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", kind, [None, FEATURES])],
        [helper.make_tensor_value_info("y", kind, [None, targets])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString(), options)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("targets", [1, 3])
def test_the_operator_adds_as_a_plain_walk_does_bit_for_bit(single: bool, targets: int) -> None:
    random = np.random.default_rng(3)
    dtype: Any = np.float32 if single else np.float64
    trees = [lone_leaf(0.25, target) for target in range(targets)]
    trees += [random_tree(random, int(random.integers(1, 5)), number % targets) for number in range(60)]
    rows = (np.round(random.normal(size=(200, FEATURES)) * 4) / 4).astype(dtype)
    rows[:, SETS] = random.integers(-2, 110, 200)
    rows[random.random(rows.shape) < 0.15] = np.nan
    expected = np.zeros((200, targets), dtype=dtype)
    for at, row in enumerate(rows):
        for tree in trees:
            expected[at, tree.target] += dtype(walk(tree, row))
    session = operator(trees, targets, single=single)
    np.testing.assert_array_equal(session.run(None, {"x": rows})[0], expected)
    np.testing.assert_array_equal(session.run(None, {"x": rows[:1]})[0], expected[:1])


@pytest.mark.parametrize(("low", "high", "limit"), [(-1.0, 1.0, 3e-8), (0.0, 10.0, 7.5), (-5.0, -1.0, -2.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_smallest_number_that_holds(low: float, high: float, limit: float, dtype: Any) -> None:
    edge = dtype(limit)
    assert smallest_from(low, high, lambda value: value >= edge, dtype) == edge


def test_a_tree_that_points_astray_is_refused() -> None:
    tree = random_tree(np.random.default_rng(0), 2, 0)
    tree.left[0] = 99999
    with pytest.raises(NotImplementedError, match="does not have"):
        checked(Boosted(trees=(tree,), features=FEATURES, targets=1, link=Link.IDENTITY, single=True, narrow=True))
