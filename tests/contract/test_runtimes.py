"""Every runtime under the published contract, with models made on the spot."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
from onnx import TensorProto, helper
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.serving.trouble import require_alike_in_a_process

from aweigh.core.errors import InternalError, NotTrusted
from aweigh.core.package import Variant
from aweigh.core.protocols import Runtime
from aweigh.core.signature import Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.runtimes.function import FunctionRuntime
from aweigh.runtimes.null import NullRuntime
from aweigh.runtimes.onnxruntime import OnnxRuntime
from aweigh.runtimes.process import ProcessRuntime
from aweigh.runtimes.reference import ReferenceRuntime
from aweigh.runtimes.sklearn import SklearnRuntime
from aweigh.testing import RuntimeContract, RuntimeSample

B = "batch"


def _spec(name: str, datatype: Datatype, *tail: int | str, role: str = "") -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(B, *tail), role=role)


def _objects(values: object) -> Tensor:
    return np.array(values, dtype=object)


def _variant(runtime: str, file: str, **more: object) -> Variant:
    return Variant(name=runtime, runtime=runtime, precision="fp32", files=(file,) if file else (), **more)  # type: ignore[arg-type]


def numbers(runtime: str, folder: Path) -> RuntimeSample:
    """y = x·W, z = row sums as integers: two outputs, floats and integers."""
    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["z"], to=TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "numbers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [B, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [B, 3]), helper.make_tensor_value_info("z", TensorProto.INT64, [B])],
        [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")],
    )
    _save(graph, folder / "numbers.onnx")
    x = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.float32)
    signature = Signature(
        inputs=(_spec("x", Datatype.FP32, 4),), outputs=(_spec("y", Datatype.FP32, 3), _spec("z", Datatype.INT64, role="label"))
    )
    return RuntimeSample(
        variant=_variant(runtime, "numbers.onnx"),
        signature=signature,
        folder=folder,
        inputs={"x": x},
        expected=[x @ weights, x.sum(axis=1).astype(np.int64)],
    )


def text(runtime: str, folder: Path) -> RuntimeSample:
    """Two text inputs echoed and compared; a missing element becomes '?'."""
    nodes = [helper.make_node("Identity", ["a"], ["same"]), helper.make_node("Equal", ["a", "b"], ["equal"])]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info(name, TensorProto.STRING, [B, 1]) for name in ("a", "b")],
        [
            helper.make_tensor_value_info("same", TensorProto.STRING, [B, 1]),
            helper.make_tensor_value_info("equal", TensorProto.BOOL, [B, 1]),
        ],
    )
    _save(graph, folder / "text.onnx", opset=19)
    signature = Signature(
        inputs=(_spec("a", Datatype.BYTES, 1), _spec("b", Datatype.BYTES, 1)),
        outputs=(_spec("same", Datatype.BYTES, 1), _spec("equal", Datatype.BOOL, 1)),
    )
    return RuntimeSample(
        variant=_variant(runtime, "text.onnx", missing_text="?"),
        signature=signature,
        folder=folder,
        inputs={"a": _objects([["x"], ["\N{SNOWMAN}"], [None], [""]]), "b": _objects([["x"], ["y"], ["?"], [""]])},
        expected=[_objects([["x"], ["\N{SNOWMAN}"], ["?"], [""]]), np.array([[True], [False], [True], [True]])],
    )


def adapted(runtime: str, folder: Path) -> RuntimeSample:
    """The signature says float64 in and [batch] out; the file takes float32 and gives [batch, 1]."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=1)],
        "adapted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [B, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [B, 1])],
    )
    _save(graph, folder / "adapted.onnx", opset=13)
    x = np.array([[1, 9, 3, 4], [5, 6, 7, 8]], dtype=np.float64)
    signature = Signature(inputs=(_spec("x", Datatype.FP64, 4),), outputs=(_spec("y", Datatype.FP64, role="prediction"),))
    return RuntimeSample(
        variant=_variant(runtime, "adapted.onnx"), signature=signature, folder=folder, inputs={"x": x}, expected=[np.array([9.0, 8.0])]
    )


def _save(graph: onnx.GraphProto, file: Path, *, opset: int = 17) -> None:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), str(file))


class TestOnnxRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return OnnxRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return [make("onnxruntime", folder) for make in (numbers, text, adapted)]


class TestReferenceRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return ReferenceRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return [make("reference", folder) for make in (numbers, text, adapted)]


class TestNullRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return NullRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        signature = Signature(
            inputs=(_spec("x", Datatype.FP32, 4), _spec("t", Datatype.BYTES)),
            outputs=(_spec("y", Datatype.FP32, 3), _spec("label", Datatype.BYTES, role="label")),
        )
        return [
            RuntimeSample(
                variant=_variant("null", ""),
                signature=signature,
                folder=folder,
                inputs={"x": np.ones((2, 4), dtype=np.float32), "t": _objects(["a", "b"])},
                expected=[np.zeros((2, 3), dtype=np.float32), _objects(["", ""])],
            )
        ]


def function(folder: Path) -> RuntimeSample:
    """The sums of rows, and the texts of the same rows in capitals."""
    (folder / "features.py").write_text(
        "import numpy as np\n\n\ndef both(tensors):\n    loud = np.array([word.upper() for word in tensors['t']], dtype=object)\n"
        "    return {'loud': loud, 'sum': tensors['x'].sum(axis=1)}\n"
    )
    signature = Signature(
        inputs=(_spec("x", Datatype.FP64, 3), _spec("t", Datatype.BYTES)),
        outputs=(_spec("sum", Datatype.FP64), _spec("loud", Datatype.BYTES)),
    )
    return RuntimeSample(
        variant=_variant("function", "features.py", options={"function": "features.py:both"}),
        signature=signature,
        folder=folder,
        inputs={"x": np.arange(6.0).reshape(2, 3), "t": _objects(["a", "\N{SNOWMAN}b"])},
        expected=[np.array([3.0, 12.0]), _objects(["A", "\N{SNOWMAN}B"])],
    )


class TestFunctionRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return FunctionRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return [function(folder)]

    def test_sizes_behind_the_rows_are_kept_where_requests_have_none_of_their_own(self, tmp_path: Path) -> None:
        (tmp_path / "features.py").write_text("def narrow(tensors):\n    return {'y': tensors['x'][:, :2]}\n")
        variant = _variant("function", "features.py", options={"function": "features.py:narrow"})
        for columns, kept in ((3, True), ("n", False)):
            signature = Signature(inputs=(_spec("x", Datatype.FP64, columns),), outputs=(_spec("y", Datatype.FP64, 3),))
            session = self.runtime().load(variant, signature, lambda name: tmp_path / name)
            with pytest.raises(InternalError, match=r"gave float64 \[4, 2\] as 'y' for 4 rows") if kept else nullcontext():
                session.run({"x": np.zeros((4, 3))})
            session.close()


def forest(folder: Path) -> RuntimeSample:
    x, y = load_iris(return_X_y=True)
    model = RandomForestClassifier(5, random_state=0).fit(x, y)
    x = x[::17]
    skops.io.dump(model, folder / "forest.skops")
    signature = Signature(
        inputs=(_spec("x", Datatype.FP64, 4),),
        outputs=(_spec("label", Datatype.INT64, role="label"), _spec("probabilities", Datatype.FP64, 3, role="probability")),
    )
    return RuntimeSample(
        variant=_variant("sklearn", "forest.skops", options={"input_form": "matrix", "trusted_types": "sklearn.tree._tree.Tree"}),
        signature=signature,
        folder=folder,
        inputs={"x": x},
        expected=[model.predict(x), model.predict_proba(x)],
    )


def mixed_frame(folder: Path) -> RuntimeSample:
    """Text with a missing element, numbers with NaN, categories; labels are text."""
    frame = pd.DataFrame({
        "job": pd.Series(["clerk", np.nan, "smith", "clerk"] * 5, dtype=object),
        "age": [30.0, 40.0, 35.0, 20.0] * 5,
        "size": pd.Categorical(["s", "m", "l", "s"] * 5, categories=["l", "m", "s"]),
    })  # fmt: skip
    labels = np.array(["yes", "no", "no", "yes"] * 5)
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["job", "size"]), (StandardScaler(), ["age"]))
    model = make_pipeline(columns, LogisticRegression()).fit(frame, labels)
    joblib.dump(model, folder / "mixed.joblib")
    signature = Signature(
        inputs=(_spec("job", Datatype.BYTES, 1), _spec("age", Datatype.FP64, 1), _spec("size", Datatype.BYTES, 1)),
        outputs=(_spec("label", Datatype.BYTES, role="label"), _spec("probabilities", Datatype.FP64, 2, role="probability")),
        columns=(
            Column(name="job", kind=ColumnKind.TEXT, input="job", nullable=True),
            Column(name="age", kind=ColumnKind.NUMBER, input="age"),
            Column(name="size", kind=ColumnKind.CATEGORY, input="size", categories=("l", "m", "s")),
        ),
    )
    inputs = {
        "job": _objects([["clerk"], [None], ["unseen"]]),
        "age": np.array([[30.0], [33.0], [21.0]]),
        "size": _objects([["s"], ["m"], ["l"]]),
    }
    asked = pd.DataFrame({
        "job": pd.Series(["clerk", np.nan, "unseen"], dtype=object),
        "age": [30.0, 33.0, 21.0],
        "size": pd.Categorical(["s", "m", "l"], categories=["l", "m", "s"]),
    })  # fmt: skip
    return RuntimeSample(
        variant=_variant("sklearn", "mixed.joblib", options={"input_form": "frame", "dtype:size": "category"}),
        signature=signature,
        folder=folder,
        inputs=inputs,
        expected=[model.predict(asked).astype(object), model.predict_proba(asked)],
    )


def documents(folder: Path) -> RuntimeSample:
    texts = ["a good day", "a bad day", "good good", "bad bad bad"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [True, False, True, False])
    joblib.dump(model, folder / "documents.joblib", compress=3)
    signature = Signature(
        inputs=(_spec("text", Datatype.BYTES),),
        outputs=(_spec("label", Datatype.BOOL, role="label"), _spec("decision", Datatype.FP64, role="decision")),
    )
    return RuntimeSample(
        variant=_variant("sklearn", "documents.joblib", options={"input_form": "text"}),
        signature=signature,
        folder=folder,
        inputs={"text": _objects(texts)},
        expected=[model.predict(texts), model.decision_function(texts)],
    )


def regressor(folder: Path) -> RuntimeSample:
    x, y = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(x, y)
    joblib.dump(model, folder / "regressor.joblib")
    signature = Signature(inputs=(_spec("x", Datatype.FP64, 10),), outputs=(_spec("prediction", Datatype.FP64, role="prediction"),))
    return RuntimeSample(
        variant=_variant("sklearn", "regressor.joblib", options={"input_form": "matrix"}),
        signature=signature,
        folder=folder,
        inputs={"x": x[:9]},
        expected=[model.predict(x[:9])],
    )


class TestSklearnRuntime(RuntimeContract):
    def runtime(self) -> Runtime:
        return SklearnRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return [mixed_frame(folder)]


class TestRuntimeInAProcess(RuntimeContract):
    """The same contract where a child loads the variant and shared memory carries the tensors, numbers and text."""

    def runtime(self) -> Runtime:
        return ProcessRuntime()

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        return [*TestNullRuntime().samples(folder), numbers("onnxruntime", folder)]


IN_A_PROCESS: list[Callable[[Path], RuntimeSample]] = [
    functools.partial(text, "onnxruntime"),
    functools.partial(text, "reference"),
    functools.partial(adapted, "onnxruntime"),
    mixed_frame,
    forest,
]


@pytest.mark.parametrize("make", IN_A_PROCESS, ids=["onnxruntime", "reference", "adapted", "sklearn", "skops"])
def test_every_runtime_answers_alike_in_a_process(make: Callable[[Path], RuntimeSample], tmp_path: Path) -> None:
    require_alike_in_a_process(make(tmp_path))


@pytest.mark.parametrize("make", [forest, documents, regressor])
def test_sklearn_answers_as_the_estimator(make: Callable[[Path], RuntimeSample], tmp_path: Path) -> None:
    sample = make(tmp_path)
    session = SklearnRuntime().load(sample.variant, sample.signature, sample.path)
    try:
        for actual, expected in zip(session.run(sample.inputs), sample.expected, strict=True):
            np.testing.assert_array_equal(actual, expected)
    finally:
        session.close()


def test_skops_file_with_types_that_packing_did_not_accept_is_refused(tmp_path: Path) -> None:
    sample = forest(tmp_path)
    variant = _variant("sklearn", "forest.skops", options={"input_form": "matrix"})
    with pytest.raises(NotTrusted, match=r"sklearn\.tree\._tree\.Tree"):
        SklearnRuntime().load(variant, sample.signature, sample.path)
