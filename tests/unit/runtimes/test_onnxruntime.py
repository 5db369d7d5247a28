"""ONNX Runtime's own cases: operators it lacks, options, external data, mismatches with the signature, missing text."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from aweigh.core.errors import InvalidFile, InvalidInput, MissingLibrary, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.runtimes import load_session

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=("batch", 4)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=("batch", 3)),),
)


def variant(**more: Any) -> Variant:
    return Variant(**{"name": "onnx", "runtime": "onnxruntime", "precision": "fp32", "files": ("onnx/model.onnx",), **more})


def model(node: onnx.NodeProto, kind: int = TensorProto.FLOAT, *, domain: str = "") -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, ["batch", 4])],
        [helper.make_tensor_value_info("y", kind, ["batch", 3])],
        [onnx.numpy_helper.from_array(np.ones((4, 3), dtype=np.float32), "w")],
    )
    imports = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])


def save(proto: onnx.ModelProto, folder: Path) -> Any:
    (folder / "onnx").mkdir(exist_ok=True)
    onnx.save(proto, str(folder / "onnx" / "model.onnx"))
    return lambda file: folder / file


@pytest.mark.parametrize(
    ("node", "domain", "name"),
    [
        (helper.make_node("Frobnicate", ["x", "w"], ["y"], domain="com.example"), "com.example", "Frobnicate"),
        (helper.make_node("Frobnicate", ["x", "w"], ["y"]), "", "Frobnicate"),
    ],
)
def test_unknown_operator_is_named(node: onnx.NodeProto, domain: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=name):
        load_session(variant(), SIGNATURE, save(model(node, domain=domain), tmp_path))


@pytest.mark.parametrize("location", ["weights.bin", "deep/weights.bin"])
def test_external_data_is_found_whatever_the_store_calls_its_files(location: str, tmp_path: Path) -> None:
    source, blobs = tmp_path / "source", tmp_path / "blobs"
    (source / "deep").mkdir(parents=True)
    blobs.mkdir()
    proto = model(MATMUL)
    onnx.save(proto, str(source / "model.onnx"), save_as_external_data=True, location=location, size_threshold=0)
    (source / "model.onnx").rename(blobs / "aaa")
    (source / location).rename(blobs / "bbb")
    files = {"onnx/model.onnx": blobs / "aaa", f"onnx/{location}": blobs / "bbb"}
    session = load_session(variant(files=tuple(files)), SIGNATURE, files.__getitem__)
    np.testing.assert_array_equal(session.run({"x": np.ones((1, 4), np.float32)})[0], [[4, 4, 4]])
    assert sorted(file.name for file in blobs.iterdir()) == ["aaa", "bbb"]


def test_external_data_outside_the_folder_of_the_model_is_refused(tmp_path: Path) -> None:
    path = save(model(MATMUL), tmp_path)
    with pytest.raises(InvalidFile, match="outside the folder"):
        load_session(variant(files=("onnx/model.onnx", "other/weights.bin")), SIGNATURE, path)


def test_options_are_honoured_or_refused(tmp_path: Path) -> None:
    path = save(model(MATMUL), tmp_path)
    options = {"graph_optimization_level": "basic", "intra_op_threads": 2, "config:session.set_denormal_as_zero": "1"}
    load_session(variant(options=options), SIGNATURE, path, session_threads=2).close()
    for wrong in ({"input_form": "frame"}, {"graph_optimization_level": "most"}, {"intra_op_threads": 0}):
        with pytest.raises(Unsupported, match=next(iter(wrong))):
            load_session(variant(options=wrong), SIGNATURE, path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        (("z", Datatype.FP32, 4), ("y", Datatype.FP32, 3), "no input 'z'"),
        (("x", Datatype.FP32, 4), ("z", Datatype.FP32, 3), "no output 'z'"),
        (("x", Datatype.BYTES, 4), ("y", Datatype.FP32, 3), "BYTES in the signature but FP32 in the model"),
        (("x", Datatype.FP32, 4), ("y", Datatype.BYTES, 3), "BYTES in the signature but FP32 in the model"),
    ],
)
def test_file_that_does_not_fit_the_signature(inputs: Any, outputs: Any, text: str, tmp_path: Path) -> None:
    def spec(name: str, datatype: Datatype, width: int) -> TensorSpec:
        return TensorSpec(name=name, datatype=datatype, shape=("batch", width))

    with pytest.raises(InvalidFile, match=text):
        load_session(variant(), Signature(inputs=(spec(*inputs),), outputs=(spec(*outputs),)), save(model(MATMUL), tmp_path))


def test_bfloat16_is_refused_at_load(tmp_path: Path) -> None:
    node = helper.make_node("Slice", ["x", "from", "to", "axes"], ["y"])
    proto = model(node, TensorProto.BFLOAT16)
    del proto.graph.initializer[:]
    for name, value in (("from", 0), ("to", 3), ("axes", 1)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], dtype=np.int64), name))
    spec = TensorSpec(name="x", datatype=Datatype.BF16, shape=("batch", 4))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.BF16, shape=("batch", 3)),))
    with pytest.raises(Unsupported, match="bfloat16"):
        load_session(variant(), signature, save(proto, tmp_path))


def test_half_precision_passes_through(tmp_path: Path) -> None:
    node = helper.make_node("Slice", ["x", "from", "to", "axes"], ["y"])
    proto = model(node, TensorProto.FLOAT16)
    del proto.graph.initializer[:]
    for name, value in (("from", 0), ("to", 3), ("axes", 1)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], dtype=np.int64), name))
    spec = TensorSpec(name="x", datatype=Datatype.FP16, shape=("batch", 4))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP16, shape=("batch", 3)),))
    x = np.array([[1.5, np.nan, 3, 4]], dtype=np.float16)
    (answer,) = load_session(variant(), signature, save(proto, tmp_path)).run({"x": x})
    assert answer.dtype == np.float16
    np.testing.assert_array_equal(answer, x[:, :3])


def test_missing_text_is_refused_where_the_model_takes_none(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["batch"])],
    )
    path = save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path)
    spec = TensorSpec(name="x", datatype=Datatype.BYTES, shape=("batch",))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.BYTES, shape=("batch",)),))
    session = load_session(variant(), signature, path)
    for wrong, text in (([None], "missing element"), ([b"\xff"], "not UTF-8"), (["\ud800"], "surrogate|refused")):
        with pytest.raises(InvalidInput, match=text):
            session.run({"x": np.array(wrong, dtype=object)})
    (answer,) = session.run({"x": np.array(["a\x00b", b"c"], dtype=object)})
    assert answer.tolist() == ["a\x00b", "c"]


def test_telemetry_is_off() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_unknown_runtime_and_missing_library() -> None:
    with pytest.raises(Unsupported, match="no runtime named 'onnxruntim'"):
        load_session(variant(runtime="onnxruntim"), SIGNATURE, Path)
    assert issubclass(MissingLibrary, Unsupported)
