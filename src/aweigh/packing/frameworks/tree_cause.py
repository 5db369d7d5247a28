"""The first tree of an ONNX ensemble that adds something else than the library's own: both sums after so many rounds, found by bisecting. Called by `boosted_pack.py` and `sklearn_cause.py`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from aweigh.core.tensors import Tensor
from aweigh.packing.cause import Trouble
from aweigh.runtimes.onnxruntime_inside import inside

_CLOSE: Final = 2e-6
"""Of the largest sum: some sixteen units in the last place of float32."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A library's own sums, round by round: `sums(k)` are those after k rounds, [rows, targets], before anything is done to them."""

    rounds: int
    sums: Callable[[int], NDArray[np.float64]]
    before: int = 0
    """Trees of the graph that stand for what the library starts from."""
    scale: float = 1.0
    bias: tuple[float, ...] = (0.0,)
    """What the graph does to the sum of its trees before it is the library's: times scale, plus bias."""


def first_tree(found: Trouble, staged: Staged, library: str) -> str:
    """The first tree whose answer differs, with both answers; "" where the graph has no such trees, or all agree."""
    ensembles = [at for at, node in enumerate(found.proto.graph.node) if node.op_type == "TreeEnsemble"]
    if len(ensembles) != 1:
        return ""
    node = found.proto.graph.node[ensembles[0]]
    trees = len(_attribute(node, "tree_roots").ints)
    each, left = divmod(trees - staged.before, staged.rounds)
    if left or not each:
        return ""

    def both(rounds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        own = np.asarray(staged.sums(rounds), dtype=np.float64)
        raw = _summed(found, ensembles[0], staged.before + rounds * each)
        given = (np.zeros_like(own) if raw is None else raw) * staged.scale + staged.bias
        return own.reshape(given.shape), given

    def close(rounds: int) -> bool:
        own, given = both(rounds)
        return bool(np.all(np.abs(own - given) <= _CLOSE * max(1.0, float(np.abs(own).max()))))

    if close(staged.rounds):
        return f"all {trees} trees add up as {library}'s do, so it is what is done to their sum ({found.where})"
    if not close(0):
        own, given = both(0)
        return f"what the trees start from: {library} starts from {_numbers(own)}, the graph from {_numbers(given)} ({found.where})"
    agreed, apart = 0, staged.rounds
    while apart - agreed > 1:
        middle = (agreed + apart) // 2
        agreed, apart = (middle, apart) if close(middle) else (agreed, middle)
    (own_before, given_before), (own, given) = both(agreed), both(apart)
    row, target = (int(place) for place in np.unravel_index(int(np.argmax(np.abs(own - given))), own.shape))
    number = agreed * each + (target if each == own.shape[1] else 0)
    one, other = own[row, target] - own_before[row, target], given[row, target] - given_before[row, target]
    return (
        f"tree {number} of {trees - staged.before} is the first that differs: {library}'s adds {one:.9g}, the graph's adds {other:.9g} "
        f"(node '{node.name or node.output[0]}' (TreeEnsemble), {found.where}); the {number} before it agree"
    )


def _summed(found: Trouble, at: int, trees: int) -> NDArray[np.float64] | None:
    """What the first trees of the ensemble add up to; None for none."""
    if not trees:
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(found.proto)
    node = proto.graph.node[at]
    roots = _attribute(node, "tree_roots")
    kept = list(roots.ints)[:trees]
    del roots.ints[:]
    roots.ints.extend(kept)
    del proto.graph.output[:]
    proto.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
    given: Mapping[str, Tensor] = inside(
        pruned(proto, at).SerializeToString(), found.variant, found.signature, found.inputs, optimised=False
    )
    return np.asarray(given[node.output[0]], dtype=np.float64)


def pruned(proto: Any, last: int) -> Any:
    """The model without the nodes behind one."""
    del proto.graph.node[last + 1 :]
    return proto


def _attribute(node: Any, name: str) -> Any:
    return next(item for item in node.attribute if item.name == name)


def _numbers(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.9g}" for value in values[0, :4].tolist())
