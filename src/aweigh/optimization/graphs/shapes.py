"""A graph made ready for a quantiser: constants folded, batch normalisation inside its convolution, every shape known that can be, biases of one axis."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

from onnxruntime.quantization import quant_pre_process

from aweigh.core.errors import Unsupported
from aweigh.optimization.graphs.files import name_nodes, tensor_bytes, weights_of, write_graph

_ATTEMPTS: Final[tuple[dict[str, bool], ...]] = (
    {},
    {"auto_merge": True},
    {"skip_symbolic_shape": True},
    {"skip_symbolic_shape": True, "skip_optimization": True},
)
"""From all that there is to what cannot fail: symbolic inference stops at operators that it does not know."""
_LARGE_BYTES: Final = 1_000_000_000


def prepared(model: Any, folder: Path) -> Path:
    """Write the model made ready into the folder. Raises Unsupported with what ONNX says where no shape can be inferred at all."""
    logging.getLogger("onnxruntime.quantization.shape_inference").setLevel(logging.CRITICAL)  # tells what the next attempt mends
    logging.getLogger("onnxruntime.tools.symbolic_shape_infer").setLevel(logging.CRITICAL)
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    large = sum(map(tensor_bytes, model.graph.initializer)) > _LARGE_BYTES
    source = write_graph(model, folder, "plain.onnx")["plain.onnx"]
    out = folder / "prepared.onnx"
    said = ""
    for attempt in _ATTEMPTS:
        try:
            with contextlib.chdir(folder):  # where an inference that stops leaves a file of its own
                quant_pre_process(source, str(out), save_as_external_data=large, all_tensors_to_one_file=True, **attempt)
            ready = onnx.load(str(out))
            name_nodes(ready.graph)
            _flatten_biases(ready.graph)
            write_graph(ready, folder, out.name)
            return out
        except Exception as error:  # noqa: BLE001  # whatever the library raises, the next attempt asks less of it
            said = f"{type(error).__name__}: {str(error)[:300]}"
    raise Unsupported(f"the graph's shapes cannot be inferred: {said}")


def _flatten_biases(graph: Any) -> None:
    """Write biases of shape [1, N] as [N], where nothing else reads them: ONNX Runtime's quantiser takes the first axis for the channels."""
    weights = weights_of(graph)
    others = {name for node in graph.node for at, name in enumerate(node.input) if (node.op_type, at) != ("Gemm", 2)}
    others |= {output.name for output in graph.output} | {name for node in graph.node for name in _read_inside(node)}
    for bias in {node.input[2] for node in graph.node if node.op_type == "Gemm" and len(node.input) > 2} - others:
        if bias in weights and len(weights[bias].dims) == 2 and weights[bias].dims[0] == 1:
            del weights[bias].dims[0]


def _read_inside(node: Any) -> Iterator[str]:
    """Names that the branches and bodies of a node read, of whatever depth."""
    for attribute in node.attribute:
        for inner in [attribute.g, *attribute.graphs]:
            for each in inner.node:
                yield from each.input
                yield from _read_inside(each)
            yield from (output.name for output in inner.output)
