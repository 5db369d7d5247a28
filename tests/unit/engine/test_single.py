"""One row on memory of its own: the same answers as the ordinary call, to the bit, and only where the session and the signature allow it."""

import asyncio
import dataclasses
import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper
from tests.serving.kit import answers, model, post, rig, signature

from aweigh.core.package import Variant
from aweigh.core.signature import BATCH
from aweigh.core.tensors import Datatype
from aweigh.engine.model import LoadedModel
from aweigh.engine.single import single_of
from aweigh.runtimes.onnxruntime import OnnxRuntime

WEIGHTS = np.random.default_rng(4).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Four floats to a label and three scores, by ONNX Runtime."""
    file = tmp_path_factory.mktemp("single") / "linear.onnx"
    nodes = [helper.make_node("MatMul", ["X", "W"], ["scores"]), helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    variant = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("linear.onnx",))
    session = OnnxRuntime().load(variant, signature(), lambda _: Path(file))
    return dataclasses.replace(model(), session=session)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=4, max_size=4))
def test_it_answers_as_the_ordinary_call_to_the_bit(linear: LoadedModel, row: list[float]) -> None:
    single = single_of(linear)
    assert single is not None
    single.row[:] = row
    single.run()
    expected = linear.run({"X": np.array([row], dtype=np.float32)})
    assert [output.tobytes() for output in single.outputs] == [output.tobytes() for output in expected]


def test_requests_one_after_the_other_get_their_own_answers(linear: LoadedModel) -> None:
    async def scene() -> None:
        on = rig(linear)
        _, pipe = on.open()
        for at in range(6):
            values = [float(at), 1.0, -2.0, 0.5]
            body = json.dumps({"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": values}]}).encode()
            pipe.send(post(body=body))
            [reply] = answers(pipe.take())
            label, scores = json.loads(reply.body)["outputs"]
            expected = np.array([values], dtype=np.float32) @ WEIGHTS
            np.testing.assert_allclose(scores["data"], expected[0], rtol=1e-6)
            assert label["data"] == [int(expected.argmax())]
        assert linear.statistics.succeeded == linear.statistics.executions == 6

    asyncio.run(scene())


def test_where_it_is_not_allowed_there_is_none(linear: LoadedModel) -> None:
    assert single_of(model()) is None  # a session that takes no memory of others
    ragged = signature().outputs[1]
    outputs = (signature().outputs[0], type(ragged)(name="scores", datatype=Datatype.FP32, shape=(BATCH, "words")))
    assert single_of(dataclasses.replace(linear, signature=signature(outputs=outputs))) is None
    wrong = (signature().outputs[0], type(ragged)(name="scores", datatype=Datatype.FP32, shape=(BATCH, 4)))
    assert single_of(dataclasses.replace(linear, signature=signature(outputs=wrong))) is None
