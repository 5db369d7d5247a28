"""An ONNX file whose weights are few shared numbers, written as these numbers and small indexes. Needs onnx.

ONNX Runtime puts them together again when it loads the file: smaller on disk, and as fast as before.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WORTH: Final = 256
"""Elements from which on it is done."""
_FOUR_BITS: Final = 16
_EIGHT_BITS: Final = 256
_FOUR_BITS_SINCE: Final = 21
_MAIN: Final = frozenset({"", "ai.onnx"})


def share(file: Path) -> int:
    """Rewrite the file in place; how many tensors were written so."""
    model = onnx.load(str(file))
    opset = next((item.version for item in model.opset_import if item.domain in _MAIN), 0)
    graph = model.graph
    nodes: list[Any] = []
    kept: list[Any] = []
    for tensor in graph.initializer:
        made = _indexed(tensor, opset)
        if made is None:
            kept.append(tensor)
        else:
            kept += made[0]
            nodes += made[1]
    every = [*nodes, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(every)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
    return len(nodes) // 2


def _indexed(tensor: Any, opset: int) -> tuple[list[Any], list[Any]] | None:
    """The tensor's numbers and indexes, and the nodes that make it of them; None where it is not worth it."""
    if tensor.data_type != TensorProto.FLOAT:
        return None
    values = numpy_helper.to_array(tensor)
    numbers, which = np.unique(values, return_inverse=True)
    if values.size < _WORTH or len(numbers) > _EIGHT_BITS or values.size < 4 * len(numbers):
        return None
    which = which.reshape(values.shape).astype(np.uint8)
    few = len(numbers) <= _FOUR_BITS and opset >= _FOUR_BITS_SINCE
    name = tensor.name
    index = _fours(f"{name}/index", which) if few else numpy_helper.from_array(which, f"{name}/index")
    nodes = [
        helper.make_node("Cast", [f"{name}/index"], [f"{name}/place"], to=TensorProto.INT32),
        helper.make_node("Gather", [f"{name}/numbers", f"{name}/place"], [name], axis=0),
    ]
    return [index, numpy_helper.from_array(numbers, f"{name}/numbers")], nodes


def _fours(name: str, which: Any) -> Any:
    """Two indexes a byte, the first in its lower half."""
    flat = which.ravel()
    even = np.append(flat, np.uint8(0)) if flat.size % 2 else flat
    packed = (even[0::2] | even[1::2] << 4).astype(np.uint8).tobytes()
    return helper.make_tensor(name, TensorProto.UINT4, which.shape, packed, raw=True)
