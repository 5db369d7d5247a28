"""The opset of a file is read from its bytes, without a library for them."""

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from aweigh.packing.onnx_wire import opset


@pytest.mark.parametrize(
    ("imports", "found"), [([("", 15)], 15), ([("ai.onnx.ml", 3), ("", 18)], 18), ([("ai.onnx", 300)], 300), ([("mine", 2)], 0)]
)
def test_the_opset_of_the_standard_operators(imports: list[tuple[str, int]], found: int, tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "XY"]
    graph = helper.make_graph([helper.make_node("Relu", ["X"], ["Y"])], "plain", values[:1], values[1:])
    file = tmp_path / "model.onnx"
    file.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid(*each) for each in imports]).SerializeToString())
    assert opset(file) == found


@pytest.mark.parametrize("data", [b"\x42", b"\x42\xff", b"%PDF-1.7 no model", b"\x42\x02\x10"])
def test_what_is_no_model_has_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert opset(tmp_path / "file") == 0
