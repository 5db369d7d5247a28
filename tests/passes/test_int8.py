"""INT8 by ONNX Runtime: dynamic for products, static for convolutions, with the layers that hurt in float; what it cannot do is refused in words."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from tests.passes.digits_onnx import TOKENS, agreement, beside, job_of, rows, size
from tests.passes.kit import answers, make_pass

import aweigh
from aweigh.core.errors import Unsupported
from aweigh.core.tensorfile import write_tensors
from aweigh.optimization.graphs.shapes import prepared
from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import Device, PassJob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore:Stochastic Optimizer")]


@pytest.mark.parametrize("way", ["per-channel", "per-tensor"])
def test_dynamic_keeps_a_multilayer_perceptrons_labels_in_a_third_of_its_size(tmp_path: Path, way: str) -> None:
    job = job_of("mlp", tmp_path)
    made = make_pass("int8-dynamic", job, way)
    assert agreement(job, made) >= 0.99
    assert size(made.files) < 0.5 * size(job.files)
    assert any("products in few bits" in note for note in made.notes)


def test_weights_that_lie_beside_the_graph_are_quantised_too(tmp_path: Path) -> None:
    job = job_of("beside", tmp_path)
    assert len(job.files) == 2
    made = make_pass("int8-dynamic", job)
    assert agreement(job, made) >= 0.99


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-static"])
def test_layers_that_hurt_go_back_to_float_until_the_rows_agree(tmp_path: Path, name: str) -> None:
    job = job_of("outlier", tmp_path)
    made = make_pass(name, job)
    assert agreement(job, made) >= 0.98
    assert any("1 of 3" in note and "stayed in float: layer1" in note for note in made.notes)


def test_dynamic_refuses_a_graph_without_weights(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no product of a matrix with weights"):
        make_pass("int8-dynamic", job_of("plain", tmp_path, calibration=False))


@pytest.mark.parametrize("way", ["minmax", "percentile", "entropy"])
def test_static_keeps_a_convolutional_networks_labels(tmp_path: Path, way: str) -> None:
    job = job_of("cnn", tmp_path)
    made = make_pass("int8-static", job, way)
    assert agreement(job, made) >= 0.98
    assert size(made.files) < 0.5 * size(job.files)
    answered = answers(made, job.signature, {"x": rows()["held"]})[0]
    assert (answered.argmax(axis=1) == rows()["labels"]).mean() > 0.88


@pytest.mark.parametrize("way", ["minmax", "percentile", "entropy"])
def test_static_takes_the_perceptron_that_packing_writes(tmp_path: Path, way: str) -> None:
    """scikit-learn's biases are rows of one matrix each, [1, N]."""
    learnt, right = load_digits(return_X_y=True)
    learnt = (learnt / 16).astype(np.float32)
    model = MLPClassifier((64, 32), max_iter=40, random_state=0).fit(learnt[:900], right[:900])
    packed = aweigh.pack(model, "digits", sample=learnt[:64], home=str(tmp_path / "home"))
    signature, variant = packed.manifest.session_signature, packed.manifest.variants[0].bare()
    job = PassJob(
        variant=variant, files={file: str(packed.path(file)) for file in variant.files}, signature=signature, folder=str(tmp_path / "made")
    )
    calibration = {"label": model.predict(learnt[:200]), "probabilities": model.predict_proba(learnt[:200]).astype(np.float32)}
    named = {"input/X": (signature.inputs[0].datatype, learnt[:200])}
    named |= {f"output/{spec.name}": (spec.datatype, calibration[spec.name]) for spec in signature.outputs}
    (tmp_path / "rows").write_bytes(write_tensors(named))
    made = make_pass("int8-static", msgspec.structs.replace(job, calibration=str(tmp_path / "rows")), way)
    labels = answers(made, signature, {"X": learnt[900:]})[0]
    assert (labels == model.predict(learnt[900:])).mean() >= 0.98
    assert not any("stayed in float" in note for note in made.notes)


def test_a_bias_that_others_read_keeps_its_shape(tmp_path: Path) -> None:
    """Of [1, 4], and of a branch that reads it as such."""
    make = onnx.helper.make_node
    inside = onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, (None, 4))
    branches = {
        f"{name}_branch": onnx.helper.make_graph([make("Mul", ["inner", "a"], ["z"])], name, [], [inside]) for name in ("then", "else")
    }
    nodes = [
        make("Gemm", ["x", "weight", "alone"], ["a"]), make("Gemm", ["x", "weight", "shared"], ["b"]), make("Gemm", ["x", "weight", "inner"], ["c"]),
        make("Add", ["a", "shared"], ["d"]), make("If", ["which"], ["e"], **branches), make("Sum", ["b", "c", "d", "e"], ["y"]),
    ]  # fmt: skip
    weights = {"weight": np.eye(4), "alone": [[1, 2, 3, 4]], "shared": [[5, 6, 7, 8]], "inner": [[9, 8, 7, 6]]}
    graph = onnx.helper.make_graph(
        nodes, "biases",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("rows", 4)), onnx.helper.make_tensor_value_info("which", onnx.TensorProto.BOOL, ())],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("rows", 4))],
        [onnx.numpy_helper.from_array(np.asarray(weight, dtype=np.float32), name) for name, weight in weights.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    ready = onnx.load(str(prepared(model, tmp_path)))
    onnx.checker.check_model(ready, full_check=True)
    biases = {weight.name: tuple(weight.dims) for weight in ready.graph.initializer if weight.name != "weight"}
    assert biases == {"alone": (4,), "shared": (1, 4), "inner": (1, 4)}


def test_static_without_rows_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no calibration rows"):
        ways_of("int8-static", job_of("cnn", tmp_path, calibration=False))


def test_what_was_fused_is_quantised_or_refused_and_never_crashes(tmp_path: Path) -> None:
    job = job_of("encoder", tmp_path, signature=TOKENS)
    fused = make_pass("transformer-fusion", job)
    variant = msgspec.structs.replace(job.variant, files=tuple(fused.files))
    job = msgspec.structs.replace(job, variant=variant, files=fused.files, folder=str(tmp_path / "then"), agreement=0.8, measure="cosine")
    made = make_pass("int8-dynamic", job)
    one, other = beside(job, made)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def test_weights_have_seven_bits_where_products_overflow(tmp_path: Path) -> None:
    job = job_of("mlp", tmp_path, device=Device(features=("avx2", "fma")))
    assert ways_of("int8-dynamic", job)[0].choices["reduce_range"] is True
    assert ways_of("int8-static", job_of("mlp", tmp_path, device=Device(features=("avx512_vnni",))))[0].choices["reduce_range"] is False
