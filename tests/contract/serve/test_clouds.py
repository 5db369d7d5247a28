"""The dialects of clouds: SageMaker's /ping and /invocations in JSON and CSV, Vertex's instances at the paths that Vertex names."""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import Answer, Rig, answers, echo, echo_signature, get, model, post, rig

from aweigh.core.errors import Conflict, InvalidSetting
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype

LABELLED = {"label": 10, "probability_0": 1.0, "probability_1": 2.0, "probability_2": 3.0}
CSV = "Content-Type: text/csv"
ROUTES = {"health_route": "/v1/health", "predict_route": "/v1/predict"}


@pytest.fixture(scope="module")
def server() -> Rig:
    return rig(max_rows=100)


@pytest.fixture(scope="module")
def vertex() -> Rig:
    return rig(max_rows=100, **ROUTES)


def ask(server: Rig, body: bytes, *headers: str, path: str = "/invocations") -> Answer:
    """The answer, and that the connection goes on."""
    _, pipe = server.open()
    pipe.send(post(path, body, *headers) + get("/live"))
    first, second = answers(pipe.take())
    assert second.status == 200
    return first


@pytest.mark.parametrize(
    "body",
    [
        b'{"rows":[{"a":1,"b":2,"c":3,"d":4}]}',
        b'{"a":1,"b":2,"c":3,"d":4}',
        b"[[1,2,3,4]]",
        b'{"columns":["b","a","c","d"],"data":[[2,1,3,4]]}',
    ],
)
def test_sagemaker_takes_rows_as_the_plain_dialect_does(server: Rig, body: bytes) -> None:
    found = ask(server, body, "Content-Type: application/json")
    assert (found.status, json.loads(found.body)) == (200, {"predictions": [LABELLED]})
    plain = json.loads(ask(server, body, path="/predict/iris").body)
    assert plain["predictions"] == [LABELLED]


def test_sagemaker_in_csv_and_out(server: Rig) -> None:
    rows = b"1,2,3,4\r\n5,6,7,8\n"
    found = ask(server, rows, CSV)
    assert [row["probability_0"] for row in json.loads(found.body)["predictions"]] == [1.0, 5.0]
    found = ask(server, rows, CSV, "Accept: text/csv")
    assert (found.status, found.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert list(csv.reader(io.StringIO(found.body.decode()))) == [["10", "1.0", "2.0", "3.0"], ["26", "5.0", "6.0", "7.0"]]
    found = ask(server, b"[[1,2,3,4]]", "Accept: text/csv;q=1, application/json")
    assert found.body == b"10,1.0,2.0,3.0\n"


MISTAKES: dict[str, tuple[bytes, tuple[str, ...], int, str]] = {
    "no JSON": (b"hello", (), 400, "the body is not JSON"),
    "short row": (b"1,2,3", (CSV,), 400, "row 0 has 3 cells, this model 4 columns"),
    "header": (b"a,b,c,d\n1,2,3,4", (CSV,), 400, "column 'a', row 0: got 'a', expected a number"),
    "empty cell": (b"1,,3,4", (CSV,), 400, "column 'b', row 0: got null"),
    "too many rows": (b"1,2,3,4\n" * 101, (CSV,), 413, "more than 100 rows"),
    "open quote": (b'"1,2,3,4', (CSV,), 400, "the body is not CSV: line 1"),
    "no UTF-8": (b"\xff,2,3,4", (CSV,), 400, "the body is not UTF-8: byte 0"),
    "NUL": (b"1,2,\0,4", (CSV,), 400, ""),
    "too large": (b"1e39,2,3,4", (CSV,), 400, "does not fit FP32"),
    "wrong type": (b"x", ("Content-Type: application/x-recordio-protobuf",), 415, "Content-Type 'application/x-recordio-protobuf'"),
    "key twice": (b'{"a":1,"a":1,"b":2,"c":3,"d":4}', (), 400, "'a' is given twice"),
    "unknown model": (b"[[1,2,3,4]]", ("X-Amzn-SageMaker-Target-Model: irs",), 404, "did you mean 'iris'?"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "headers", "status", "text"), MISTAKES.values(), ids=MISTAKES)
def test_sagemaker_says_what_is_wrong(server: Rig, body: bytes, headers: tuple[str, ...], status: int, text: str) -> None:
    found = ask(server, body, *headers)
    said = json.loads(found.body)
    assert found.status == status
    assert list(said) == ["error", "code", "hint"]
    assert text in said["error"] + said["hint"]


def test_sagemaker_of_several_models_wants_to_know_which() -> None:
    several = rig(model(), model(echo, of=echo_signature(Datatype.FP64), name="other"))
    found = ask(several, b"[[1,2,3,4]]")
    assert found.status == 400
    assert "which model is not said: this server has iris, other" in json.loads(found.body)["error"]
    for said in ("iris", "iris:1"):
        assert ask(several, b"[[1,2,3,4]]", f"X-Amzn-SageMaker-Target-Model: {said}").status == 200


def test_csv_of_every_kind_of_column() -> None:
    kinds = [ColumnKind.NUMBER, ColumnKind.INTEGER, ColumnKind.BOOLEAN, ColumnKind.TEXT]
    types = [Datatype.FP64, Datatype.INT64, Datatype.BOOL, Datatype.BYTES]
    specs = tuple(TensorSpec(name=kind.value, datatype=datatype, shape=(BATCH,)) for kind, datatype in zip(kinds, types, strict=True))
    columns = tuple(Column(name=kind.value, kind=kind, input=kind.value, nullable=kind in {kinds[0], kinds[3]}) for kind in kinds)
    of = Signature(inputs=specs, outputs=specs, columns=columns)
    mixed = rig(model(lambda inputs: [np.asarray(inputs[kind.value]) for kind in kinds], of=of))
    found = ask(mixed, b'1.5,7,true,"a ""b"", c"\r\n,8.0,0,\n', CSV)
    rows = json.loads(found.body)["predictions"]
    assert [list(row.values()) for row in rows] == [[1.5, 7, True, 'a "b", c'], [None, 8, False, None]]
    assert ask(mixed, b"1.5,7.5,true,a", CSV).status == 400
    assert ask(mixed, b"1.5,7,maybe,a", CSV).status == 400
    assert ask(mixed, b'1.5,7,true,"a, b"\n', CSV, "Accept: text/csv").body == b'1.5,7,true,"a, b"\n'


@pytest.mark.parametrize(
    ("body", "ages"),
    [
        (b"41\n\n52\n", [41, -1, 52]),
        (b"41\r\n\r\n52", [41, -1, 52]),
        (b"\n41\n", [-1, 41]),
        (b"41\n\n", [41, -1]),
        (b"41\n", [41]),
        (b'41\n""\n', [41, -1]),
    ],
)
def test_an_empty_line_is_a_row_of_a_model_of_one_column(body: bytes, ages: list[int]) -> None:
    spec = TensorSpec(name="age", datatype=Datatype.FP64, shape=(BATCH,))
    columns = (Column(name="age", kind=ColumnKind.NUMBER, input="age", nullable=True),)
    one = rig(model(lambda inputs: [np.nan_to_num(inputs["age"], nan=-1)], of=Signature(inputs=(spec,), outputs=(spec,), columns=columns)))
    assert [row["age"] for row in json.loads(ask(one, body, CSV).body)["predictions"]] == ages


def test_an_empty_line_is_nothing_of_a_model_of_several_columns(server: Rig) -> None:
    assert len(json.loads(ask(server, b"1,2,3,4\n\n5,6,7,8\n", CSV).body)["predictions"]) == 2


def test_ping_follows_readiness(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(get("/ping"))
    assert [(found.status, found.body) for found in answers(pipe.take())] == [(200, b"")]
    starting = rig()
    starting.dataplane.started = False
    _, pipe = starting.open()
    pipe.send(get("/ping"))
    assert answers(pipe.take())[0].status == 503


def test_vertex_answers_instances_at_its_own_paths(vertex: Rig) -> None:
    body = b'{"instances":[{"a":1,"b":2,"c":3,"d":4}],"parameters":{"x":1}}'
    for form in (body, b'{"instances":[[1,2,3,4]]}'):
        found = ask(vertex, form, path="/v1/predict")
        assert (found.status, json.loads(found.body)) == (200, {"predictions": [LABELLED]})
    _, pipe = vertex.open()
    pipe.send(get("/v1/health"))
    assert answers(pipe.take())[0].status == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[[1,2,3,4]]", "the body holds no instances"),
        (b'{"instances":7}', "the body holds no instances"),
        (b'{"instances":[[1,2,3]]}', "row 0 is not a list of 4 values"),
        (b'{"instances":[{"a":1}]}', "column 'b' is missing"),
        (b'{"instances":[[1,2,3,4]],"instances":[]}', "'instances' is given twice"),
    ],
)
def test_vertex_says_what_is_wrong(vertex: Rig, body: bytes, text: str) -> None:
    found = ask(vertex, body, path="/v1/predict")
    assert found.status == 400
    assert text in json.loads(found.body)["error"]


def test_vertex_paths_may_be_those_of_other_dialects() -> None:
    """Whoever deploys chooses them: health at a path that tells of it already, predictions at one that has another body."""
    server = rig(health_route="/ready", predict_route="/predict/iris")
    assert ask(server, b'{"instances":[[1,2,3,4]]}', path="/predict/iris").status == 200
    with pytest.raises(Conflict, match="two routes answer POST /invocations"):
        rig(predict_route="/invocations")


@pytest.mark.parametrize("path", ["health", "/", "/{name}", "/a b", "/a?b", "/é\n"])
def test_what_is_no_path_is_said_at_the_start(path: str) -> None:
    with pytest.raises(InvalidSetting, match="setting 'predict_route' is"):
        rig(predict_route=path)


def test_vertex_without_paths_has_none(server: Rig) -> None:
    found: Any = ask(server, b'{"instances":[[1,2,3,4]]}', path="/v1/predict")
    assert found.status == 404
