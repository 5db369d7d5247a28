"""ONNX files: described, proven, and the hostile ones of A5 refused with nothing outside touched."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aweigh.core.errors import AweighError, InvalidFile, Unsupported
from aweigh.core.evidence import Strength
from aweigh.core.signature import Task
from aweigh.isolate import Caps
from aweigh.packing import PackRequest, pack
from aweigh.packing.onnx_checks import check_model
from aweigh.verify import prove

value = helper.make_tensor_value_info
WEIGHTS = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any], *domains: str) -> Any:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1 if domain != "ai.onnx.ml" else 3) for domain in domains)]
    return helper.make_model(helper.make_graph(nodes, "graph", inputs, outputs, tensors), opset_imports=opsets, ir_version=9)


def two_inputs() -> Any:
    nodes = [helper.make_node("MatMul", ["a", "W"], ["c"]), helper.make_node("Add", ["c", "b"], ["d"])]
    axes = ["N", "sequence", 8]
    inputs = [value("a", TensorProto.FLOAT, axes), value("b", TensorProto.FLOAT, axes)]
    return model_of(nodes, inputs, [value("d", TensorProto.FLOAT, axes)], {"W": WEIGHTS})


def classifier() -> Any:
    attributes = {"coefficients": [1.0, -1.0, 0.5, -0.5], "intercepts": [0.0, 0.1], "classlabels_strings": ["no", "yes"]}
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["label", "raw"], domain="ai.onnx.ml", post_transform="SOFTMAX", **attributes),
        helper.make_node("ZipMap", ["raw"], ["probabilities"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]),
    ]
    zipped = helper.make_value_info(
        "probabilities",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        ),
    )
    outputs = [value("label", TensorProto.STRING, [None]), zipped]
    return model_of(nodes, [value("x", TensorProto.FLOAT, [None, 2])], outputs, {}, "ai.onnx.ml")


def packed(path: Path, sample: object = None) -> Any:
    return pack(path, PackRequest(prove=prove, sample=sample, caps=Caps(memory_bytes=3 * 1024**3, timeout_s=60)))


def judged(path: Path) -> None:
    """The verdict alone, without the child that packing puts around it."""
    check_model(onnx.load(path, load_external_data=False), path.parent)


def test_dynamic_axes_keep_their_names_and_the_first_is_the_batch(tmp_path: Path) -> None:
    onnx.save(two_inputs(), tmp_path / "model.onnx")
    manifest = packed(tmp_path / "model.onnx").manifest
    assert [spec.shape for spec in (*manifest.signature.inputs, *manifest.signature.outputs)] == [("batch", "sequence", 8)] * 3
    evidence = manifest.variants[0].evidence
    assert evidence.passed
    assert evidence.strength is Strength.WEAK
    assert "reference evaluator" in evidence.data
    sample = {"a": np.ones((6, 3, 8)), "b": np.zeros((6, 3, 8))}
    assert packed(tmp_path / "model.onnx", sample).manifest.variants[0].evidence.strength is Strength.FULL


def test_zipmap_is_taken_off_and_labels_are_recognised(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "model.onnx")
    signature = packed(tmp_path / "model.onnx", np.random.default_rng(0).normal(size=(50, 2))).manifest.signature
    assert signature.task is Task.CLASSIFICATION
    assert signature.labels == ("no", "yes")
    assert [(spec.name, spec.role, spec.shape) for spec in signature.outputs] == [
        ("label", "label", ("batch",)),
        ("probabilities", "probability", ("batch", 2)),
    ]


def test_a_live_model_and_a_model_of_fixed_shape(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model = model_of([node], [value("x", TensorProto.FLOAT, [1, 3])], [value("y", TensorProto.FLOAT, [1, 3])], {})
    draft = pack(model, PackRequest(prove=prove, sample=np.ones((4, 3), dtype=np.float32)))
    assert not draft.manifest.signature.batched
    assert [case.name for case in draft.manifest.golden] == ["sample-0", "sample-1", "sample-2", "sample-3", "zeros"]


def with_external(folder: Path) -> Any:
    onnx.save(two_inputs(), folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return onnx.load(folder / "model.onnx", load_external_data=False)


def test_external_data_rides_along(tmp_path: Path) -> None:
    with_external(tmp_path)
    draft = packed(tmp_path / "model.onnx")
    assert draft.manifest.variants[0].files == ("variants/onnx/model.onnx", "variants/onnx/weights.bin")
    assert draft.files["variants/onnx/weights.bin"] == (tmp_path / "weights.bin").read_bytes()


def entry(model: Any, key: str) -> Any:
    return next(item for item in model.graph.initializer[0].external_data if item.key == key)


@pytest.mark.parametrize(
    "location",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "C:\\x",
        "link",
        "linked/weights.bin",
        "",
        "x\0y",
        "./weights.bin",
        "fifo",
        "hard",
        "absent",
        "folder",
    ],
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = with_external(folder)
    (tmp_path / "x").write_bytes((folder / "weights.bin").read_bytes())
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "fifo")
    os.link(tmp_path / "x", folder / "hard")
    (folder / "folder").mkdir()
    entry(model, "location").value = location
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(AweighError) as caught:
        judged(folder / "model.onnx")
    assert caught.value.code in {"invalid-file", "file-not-found"}


@pytest.mark.parametrize(("key", "text"), [("offset", "4096"), ("length", "999999"), ("offset", "-1"), ("length", "many"), ("length", "8")])
def test_external_data_beyond_its_file_is_refused(tmp_path: Path, key: str, text: str) -> None:
    model = with_external(tmp_path)
    entry(model, key).value = text
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidFile):
        judged(tmp_path / "model.onnx")


def broken(change: Callable[[Any], None]) -> Any:
    model = two_inputs()
    change(model)
    return model


def negative(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -8


def short(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 9


def sparse(model: Any) -> None:
    tensor = model.graph.sparse_initializer.add()
    tensor.values.CopyFrom(numpy_helper.from_array(np.ones(1, dtype=np.float32), "s"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, dtype=np.int64), "i"))
    tensor.dims[:] = [2**40]


def foreign(model: Any) -> None:
    model.graph.node[0].domain = "evil.corp"
    model.opset_import.add(domain="evil.corp", version=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [(negative, "negative dimension"), (short, "its shape"), (sparse, "sparse"), (foreign, "evil.corp")],
)
def test_malformed_models_are_refused_by_name(tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    (tmp_path / "model.onnx").write_bytes(broken(change).SerializeToString())
    with pytest.raises((InvalidFile, Unsupported), match=words):
        judged(tmp_path / "model.onnx")


BOMBS = {
    "tile": (
        [helper.make_node("Tile", ["x", "n"], ["t"]), helper.make_node("ReduceSum", ["t"], ["y"])],
        {"n": np.array([1 << 20, 1 << 16])},
    ),
    "constant": (
        [
            helper.make_node("ConstantOfShape", ["n"], ["t"]),
            helper.make_node("ReduceSum", ["t"], ["u"]),
            helper.make_node("Add", ["u", "x"], ["y"]),
        ],
        {"n": np.array([1 << 34])},
    ),
    "expand": (
        [helper.make_node("Expand", ["x", "n"], ["t"]), helper.make_node("ReduceSum", ["t"], ["y"])],
        {"n": np.array([1 << 18, 1 << 18])},
    ),
    "pad": (
        [helper.make_node("Pad", ["x", "n"], ["t"]), helper.make_node("ReduceSum", ["t"], ["y"])],
        {"n": np.array([0, 0, 1 << 17, 1 << 17])},
    ),
}


@pytest.mark.parametrize("kind", ["tile", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("constant", "expand", "pad"))])
def test_a_bomb_dies_in_the_child(tmp_path: Path, kind: str) -> None:
    nodes, weights = BOMBS[kind]
    model = model_of(nodes, [value("x", TensorProto.FLOAT, ["b", 1])], [value("y", TensorProto.FLOAT, ["p", "q"])], weights)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    started = time.monotonic()
    with pytest.raises(AweighError):
        packed(tmp_path / "model.onnx")
    assert time.monotonic() - started < 30


def relu(opset: int, ir_version: int) -> Any:
    """A model whose operators every opset from 7 on has in the same form."""
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["g"]),
        helper.make_node("Relu", ["g"], ["r"]),
        helper.make_node("Softmax", ["r"], ["y"]),
    ]
    weights = [numpy_helper.from_array(WEIGHTS, "W"), numpy_helper.from_array(WEIGHTS[0], "b")]
    inputs = [value("x", TensorProto.FLOAT, ["N", 8])]
    if ir_version < 4:  # before, initializers had to be inputs too
        inputs += [value("W", TensorProto.FLOAT, [8, 8]), value("b", TensorProto.FLOAT, [8])]
    graph = helper.make_graph(nodes, "graph", inputs, [value("y", TensorProto.FLOAT, ["N", 8])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


@pytest.mark.parametrize(("opset", "ir_version"), [(7, 3), (8, 3), (9, 4), (10, 5), (11, 6), (13, 7), (15, 8), (18, 9), (21, 10)])
def test_opsets_and_ir_versions_back_to_seven(tmp_path: Path, opset: int, ir_version: int) -> None:
    onnx.save(relu(opset, ir_version), tmp_path / "model.onnx")
    draft = packed(tmp_path / "model.onnx")
    assert [spec.name for spec in draft.manifest.signature.inputs] == ["x"]
    kept = onnx.load_from_string(bytes(draft.files["variants/onnx/model.onnx"]))
    assert [item.version for item in kept.opset_import] == [opset], "an opset is never raised in silence"


def test_an_opset_below_seven_is_lifted_and_proven(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    axes = ["N", 8]
    graph = helper.make_graph([node], "graph", [value("x", TensorProto.FLOAT, axes)], [value("y", TensorProto.FLOAT, axes)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3), tmp_path / "model.onnx")
    draft = packed(tmp_path / "model.onnx")
    kept = onnx.load_from_string(bytes(draft.files["variants/onnx/model.onnx"]))
    assert [item.version for item in kept.opset_import] == [18]


def test_functions_of_the_model_itself_are_no_strangers(tmp_path: Path) -> None:
    function = helper.make_function(
        "own.domain", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    axes = ["N", 8]
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="own.domain")],
        "graph",
        [value("x", TensorProto.FLOAT, axes)],
        [value("y", TensorProto.FLOAT, axes)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own.domain", 1)]
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=9), tmp_path / "model.onnx")
    assert packed(tmp_path / "model.onnx").manifest.variants[0].evidence.passed


def test_a_stranger_inside_a_function_is_named(tmp_path: Path) -> None:
    function = helper.make_function(
        "own.domain",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Steal", ["a"], ["b"], domain="evil.corp")],
        [helper.make_opsetid("evil.corp", 1)],
    )
    axes = ["N", 8]
    node = helper.make_node("Twice", ["x"], ["y"], domain="own.domain")
    graph = helper.make_graph([node], "graph", [value("x", TensorProto.FLOAT, axes)], [value("y", TensorProto.FLOAT, axes)])
    model = helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("own.domain", 1)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(Unsupported, match=r"operator 'Steal' of the domain 'evil\.corp'"):
        judged(tmp_path / "model.onnx")


def test_a_domain_with_one_function_does_not_cover_other_operators(tmp_path: Path) -> None:
    function = helper.make_function(
        "own.domain", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    axes = ["N", 8]
    node = helper.make_node("Thrice", ["x"], ["y"], domain="own.domain")
    graph = helper.make_graph([node], "graph", [value("x", TensorProto.FLOAT, axes)], [value("y", TensorProto.FLOAT, axes)])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own.domain", 1)]
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=9), tmp_path / "model.onnx")
    with pytest.raises(Unsupported, match=r"operator 'Thrice' of the domain 'own\.domain'"):
        judged(tmp_path / "model.onnx")
