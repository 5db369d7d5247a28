"""ONNX graphs built node by node, and workloads around them. Used by the scenarios that bring a network of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bench.session import Session
from bench.workload import Workload

OPSET: Final = 20
IR: Final = 10


class Graph:
    """Nodes and weights in the order in which they are added; each method gives back the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}

    def weight(self, name: str, value: Any) -> str:
        self.weights.setdefault(name, np.ascontiguousarray(value))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        made = output or f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [made], name=made, **attributes))
        return made

    def save(self, file: Path, inputs: Mapping[str, tuple[int, Sequence[Any]]], outputs: Mapping[str, tuple[int, Sequence[Any]]]) -> None:
        """Write it; `inputs` and `outputs` are by name, the element type and the shape."""
        ends = [[helper.make_tensor_value_info(n, kind, list(shape)) for n, (kind, shape) in side.items()] for side in (inputs, outputs)]
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, file.stem, *ends, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, file)


def workload(title: str, file: Path, inputs: dict[str, Any], *, binary: bool = False) -> Workload:
    """The right answer is that of the session in process."""
    session = Session(str(file))
    expected = dict(zip(session.names, session.run(inputs), strict=True))
    return Workload(title=title, model=file.stem, file=file, inputs=inputs, expected=expected, binary=binary)
