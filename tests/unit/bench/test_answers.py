"""Requests in every dialect's form, and whether answers are right."""

import json

import numpy as np
import pytest

from aweigh.bench.answers import Checker, decode_grpc, decode_json, differs
from aweigh.bench.plan import Question
from aweigh.bench.questions import (
    MADE_UP,
    ColumnInfo,
    NamedTensor,
    TensorInfo,
    binary_question,
    grpc_question,
    made_up_rows,
    made_up_tensors,
    rest_question,
    rows_question,
    slices,
)
from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.tensors import Datatype
from aweigh.protos import message

INPUTS = (
    TensorInfo(name="X", datatype="FP32", shape=(-1, 4)),
    TensorInfo(name="ids", datatype="INT64", shape=(-1, -1)),
    TensorInfo(name="flag", datatype="BOOL", shape=(-1,)),
    TensorInfo(name="words", datatype="BYTES", shape=(-1, 1)),
    TensorInfo(name="pixels", datatype="UINT8", shape=(-1, 2, 2)),
)


def test_made_up_tensors_fit_what_the_model_takes() -> None:
    requests = made_up_tensors(INPUTS, rows=3, seed=0)
    assert len(requests) == MADE_UP
    shapes = {tensor.name: tensor.array.shape for tensor in requests[0]}
    assert shapes == {"X": (3, 4), "ids": (3, 16), "flag": (3,), "words": (3, 1), "pixels": (3, 2, 2)}
    assert all(tensor.array.dtype == tensor.datatype.dtype for request in requests for tensor in request)
    assert len({rest_question(request).body for request in requests}) == MADE_UP
    assert [rest_question(request) for request in requests] == [
        rest_question(request) for request in made_up_tensors(INPUTS, rows=3, seed=0)
    ]


def test_a_datatype_that_is_not_known() -> None:
    with pytest.raises(Unsupported, match="FP8"):
        made_up_tensors((TensorInfo(name="X", datatype="FP8", shape=(1,)),), rows=1, seed=0)


def test_one_request_in_three_forms() -> None:
    tensors = [
        NamedTensor(name="X", datatype=Datatype.FP32, array=np.array([[1.5, np.nan]], dtype=np.float32)),
        NamedTensor(name="words", datatype=Datatype.BYTES, array=np.array([["é"]], dtype=object)),
    ]
    rest = json.loads(rest_question(tensors).body)
    assert rest["inputs"][0] | {"data": ""} == {"name": "X", "shape": [1, 2], "datatype": "FP32", "data": ""}
    assert rest["inputs"][1]["data"] == ["é"]
    assert b"NaN" in rest_question(tensors).body
    binary = binary_question(tensors)
    length = int(dict(binary.headers)["inference-header-content-length"])
    assert json.loads(binary.body[:length])["inputs"][1]["parameters"] == {"binary_data_size": 6}
    assert binary.body[length:] == tensors[0].array.tobytes() + b"\x02\0\0\0\xc3\xa9"
    made = message("inference.ModelInferRequest").FromString(grpc_question(tensors, "m", "2").body)
    assert (made.model_name, made.model_version, list(made.inputs[0].shape)) == ("m", "2", [1, 2])
    assert b"".join(made.raw_input_contents) == binary.body[length:]


def test_half_precision_has_no_json_form() -> None:
    with pytest.raises(Unsupported, match="FP16"):
        rest_question([NamedTensor(name="X", datatype=Datatype.FP16, array=np.zeros((1, 1), dtype=np.float16))])


def test_rows_of_columns() -> None:
    columns = (
        ColumnInfo(name="age", kind="integer"),
        ColumnInfo(name="job", kind="category", categories=("a", "b")),
        ColumnInfo(name="x", kind="number"),
    )
    requests = made_up_rows(columns, rows=2, seed=1)
    rows = json.loads(rows_question(requests[0]).body)["rows"]
    assert len(rows) == 2
    assert isinstance(rows[0]["age"], int)
    assert rows[0]["job"] in {"a", "b"}
    assert isinstance(rows[0]["x"], float)


def test_files_are_cut_into_requests() -> None:
    tensors = {"X": np.arange(14, dtype=np.float32).reshape(7, 2)}
    requests = slices(tensors, {"X": Datatype.FP32}, 3)
    assert [request[0].array[0, 0] for request in requests] == [0, 6]
    with pytest.raises(InvalidInput, match="7 rows, fewer than the 8"):
        slices(tensors, {}, 8)


REST = {
    "model_name": "m",
    "outputs": [
        {"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [[0.25, 0.75]]},
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]},
    ],
}


def rest(**changes: object) -> bytes:
    return json.dumps({**REST, **changes}).encode()


def binary() -> bytes:
    outputs = [
        {"name": "p", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
        {"name": "label", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}},
    ]
    return json.dumps({"outputs": outputs}).encode() + np.array([0.25, 0.75], dtype="<f4").tobytes() + np.array([1], dtype="<i8").tobytes()


def grpc() -> bytes:
    made = message("inference.ModelInferResponse")(model_name="m")
    made.outputs.add(name="p", datatype="FP32", shape=[1, 2])
    made.outputs.add(name="label", datatype="INT64", shape=[1])
    made.raw_output_contents.extend([np.array([0.25, 0.75], dtype="<f4").tobytes(), np.array([1], dtype="<i8").tobytes()])
    return bytes(made.SerializeToString())


def typed_grpc() -> bytes:
    made = message("inference.ModelInferResponse")()
    made.outputs.add(name="p", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([0.25, 0.75])
    made.outputs.add(name="label", datatype="INT64", shape=[1]).contents.int64_contents.append(1)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("body", "decode"),
    [(rest(), decode_json), (rest(id="x"), decode_json), (binary(), decode_json), (grpc(), decode_grpc), (typed_grpc(), decode_grpc)],
)
def test_the_same_answer_in_every_form(body: bytes, decode: object) -> None:
    expected = {"outputs": [{"name": "label", "data": [1]}, {"name": "p", "data": [0.25 + 1e-6, 0.75]}]}
    checker = Checker([Question(body=b"", expected=json.dumps(expected).encode())], decode)  # type: ignore[arg-type]
    assert checker.needed
    assert checker.difference(0, body) == ""
    assert checker.difference(0, body) == ""


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (rest(outputs=[{"name": "p", "data": [0.25, 0.76]}, {"name": "label", "data": [1]}]), "$.outputs.p.data[1] is 0.76, expected 0.75"),
        (rest(outputs=[{"name": "p", "data": [0.25]}, {"name": "label", "data": [1]}]), "expected 2 values"),
        (rest(outputs=[{"name": "p", "data": [0.25, 0.75]}]), "$.outputs.label is missing"),
        (rest(outputs=[{"name": "p", "data": [0.25, 0.75]}, {"name": "label", "data": [2]}]), "label.data[0] is 2, expected 1"),
        (b"not json", "cannot be read"),
        (b"", "cannot be read"),
        (b"[]", "is [], not an object"),
    ],
)
def test_wrong_answers_say_where(body: bytes, found: str) -> None:
    expected = {"outputs": [{"name": "p", "data": [0.25, 0.75]}, {"name": "label", "data": [1]}]}
    checker = Checker([Question(body=b"", expected=json.dumps(expected).encode())], decode_json)
    assert found in checker.difference(0, body)
    assert checker.difference(0, rest()) == ""


def test_nothing_expected_is_nothing_wrong() -> None:
    checker = Checker([Question(body=b"")], decode_json)
    assert not checker.needed
    assert checker.difference(0, b"anything") == ""


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (1.0, 1, True),
        (1, 1.0, True),
        (True, 1, False),
        (float("nan"), float("nan"), True),
        (float("inf"), 1e308, False),
        ("a", "a", True),
        (None, 0, False),
        (1.0, "1", False),
    ],
)
def test_values(expected: object, actual: object, same: bool) -> None:
    assert (differs(expected, actual) == "") is same
