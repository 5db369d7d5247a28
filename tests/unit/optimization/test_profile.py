"""Profiles of real graphs in ONNX Runtime: operators, shapes of weights that are packed, arithmetic, the roofline, the trace."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.optimization.profile import profile
from aweigh.optimization.roofline import Level, Roofline, measure_roofline

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 3, 16, 16)),),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 10)),),
)
VARIANT = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("model.onnx",))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, Relu, mean, product. Its 16 channels fill the blocks of every processor: ONNX Runtime computes with whole ones."""
    draw = np.random.default_rng(0)
    weights = {"w": (16, 3, 3, 3), "v": (16, 10)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name) for name, shape in weights.items()],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("network")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    return folder


def test_every_operator_with_its_arithmetic(network: Path) -> None:
    inputs = {"x": np.ones((2, 3, 16, 16), np.float32)}
    found, trace = profile(VARIANT, SIGNATURE, lambda file: network / file, inputs, seconds=0.1, features=("avx512_vnni",), cores=2)
    kinds = {operator.kind: operator for operator in found.operators}
    convolution, product = next(one for kind, one in kinds.items() if "Conv" in kind), kinds["MatMul"]
    assert convolution.operations == 2 * (2 * 16 * 14 * 14) * 3 * 9
    assert product.operations == 2 * 2 * 10 * 16
    assert (convolution.weight_bytes, product.weight_bytes) == (16 * 3 * 9 * 4, 16 * 10 * 4), "though they are packed when it runs"
    assert (convolution.output_bytes, product.outputs) == (2 * 16 * 14 * 14 * 4, ((2, 10),))
    assert sum(operator.share for operator in found.operators) == pytest.approx(1)
    assert sum(kind.share for kind in found.kinds) == pytest.approx(1)
    assert sum(kind.count for kind in found.kinds) == len(found.operators)
    assert (found.rows, found.threads) == (2, 1)
    assert found.calls > 5
    weights = convolution.weight_bytes + product.weight_bytes
    least_us = found.roofline.least_us(
        convolution.operations, convolution.moved_bytes, weight_bytes=convolution.weight_bytes, all_weights=weights
    )
    assert 0 < convolution.least_us == pytest.approx(min(convolution.time_us, least_us))
    assert any(event.get("name") == "model_run" for event in json.loads(trace))


def test_no_operator_is_quicker_than_the_least_that_it_could_take(tmp_path: Path) -> None:
    side = 256
    nodes, tensors, given = [], [], "x"
    for at in range(3):
        tensors.append(numpy_helper.from_array(np.random.default_rng(at).normal(size=(side, side)).astype(np.float32), f"w{at}"))
        nodes.append(helper.make_node("MatMul", [given, f"w{at}"], [f"y{at}"]))
        given = f"y{at}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", side]) for name in ("x", given)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "model.onnx")
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, side)),),
        outputs=(TensorSpec(name=given, datatype=Datatype.FP32, shape=(BATCH, side)),),
    )
    found, _ = profile(VARIANT, signature, lambda file: tmp_path / file, {"x": np.ones((1, side), np.float32)}, seconds=0.1)
    assert all(0 < one.least_us <= one.time_us for one in found.operators if one.kind == "MatMul")
    assert found.least_us <= sum(one.time_us for one in found.operators)


def test_what_fits_in_a_cache_moves_as_fast_as_that() -> None:
    roofline = Roofline(
        operations_s=1e12, bytes_s=1e9, threads=1, levels=(Level(size_bytes=1000, bytes_s=1e11), Level(size_bytes=100_000, bytes_s=1e10))
    )
    assert roofline.least_us(0, 1000) == pytest.approx(0.01)
    assert roofline.least_us(0, 100_000) == pytest.approx(10)
    assert roofline.least_us(0, 1_000_000) == pytest.approx(1000)
    assert roofline.least_us(0, 1000, weight_bytes=900, all_weights=90_000) == pytest.approx(0.09 + 0.001)
    assert roofline.least_us(0, 1000, weight_bytes=900, all_weights=900_000) == pytest.approx(0.9 + 0.001)


def test_a_runtime_that_tells_nothing(network: Path) -> None:
    variant = Variant(name="native", runtime="sklearn", precision="fp64", files=("model.joblib",))
    with pytest.raises(Unsupported, match="sklearn, which does not tell") as caught:
        profile(variant, SIGNATURE, lambda file: network / file, {})
    assert "--variant" in caught.value.hint


def test_the_roofline_is_this_machine_s() -> None:
    found = measure_roofline(1)
    assert found.operations_s > 1e8
    assert found.bytes_s > 1e7
    assert found.least_us(found.operations_s, 0) == pytest.approx(1e6)
    rates = [level.bytes_s for level in found.levels]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] >= found.bytes_s
    assert found.least_us(0, found.bytes_s * 2) == pytest.approx(2e6)
