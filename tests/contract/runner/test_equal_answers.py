"""The runner answers as the server does: the same requests to both, in every form, right ones and wrong ones. The model is a function, the same on both sides."""

import json
from typing import Any

import numpy as np
import pytest
from tests.runner.kit import FunctionSession, ask, forms_of, settings_of, tensor_of
from tests.serving.kit import answer, echo, exchange, get, model, post, rig, signature

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runner.errors import Refusal
from aweigh.runner.model import Model

D = Datatype
MIXED = Signature(
    inputs=(
        TensorSpec(name="age", datatype=D.FP64, shape=(BATCH, 1), takes_missing=False, takes_infinite=False),
        TensorSpec(name="job", datatype=D.BYTES, shape=(BATCH, 1)),
        TensorSpec(name="n", datatype=D.INT64, shape=(BATCH,)),
        TensorSpec(name="on", datatype=D.BOOL, shape=(BATCH,)),
    ),
    outputs=(
        TensorSpec(name="label", datatype=D.BYTES, shape=(BATCH,), role="label"),
        TensorSpec(name="p", datatype=D.FP64, shape=(BATCH, 2), role="probability"),
    ),
    task=Task.CLASSIFICATION,
    columns=(
        Column(name="age", kind=ColumnKind.NUMBER, input="age"),
        Column(name="job", kind=ColumnKind.CATEGORY, input="job", categories=("nurse", "clerk"), nullable=True),
        Column(name="n", kind=ColumnKind.INTEGER, input="n"),
        Column(name="on", kind=ColumnKind.BOOLEAN, input="on"),
    ),
    labels=("no", "yes"),
)


def mixed(inputs: Tensors) -> list[Tensor]:
    texts = [item.decode() if isinstance(item, bytes) else item or "" for item in inputs["job"].ravel().tolist()]
    labels = np.empty(len(texts), dtype=object)
    labels[:] = [f"{text},{n}" for text, n in zip(texts, inputs["n"].tolist(), strict=True)]
    age = np.asarray(inputs["age"], dtype=np.float64).ravel()
    return [labels, np.stack([age / 3, inputs["on"].astype(np.float64)], axis=1)]


SOME = Signature(
    inputs=(
        TensorSpec(name="x", datatype=D.FP32, shape=(BATCH, 3), refuses_missing_at=(1,), refuses_infinite_at=(0, 2)),
        TensorSpec(name="t", datatype=D.BYTES, shape=(BATCH, 2), refuses_missing_at=(1,)),
    ),
    outputs=(TensorSpec(name="y", datatype=D.FP32, shape=(BATCH,)),),
)


MODELS: dict[str, tuple[Any, Signature]] = {"iris": (answer, signature()), "mixed": (mixed, MIXED)}
ROW = {"age": 41, "job": "nurse", "n": 3, "on": True}
BODIES: dict[str, list[Any]] = {
    "iris": [
        {"rows": [{"a": 1, "b": 2.5, "c": 3, "d": -4}]},
        [{"a": 1, "b": 2, "c": 3, "d": 4}] * 3,
        {"a": 1, "b": 2, "c": 3, "d": 4},
        [[1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]],
        {"columns": ["d", "c", "b", "a"], "data": [[4, 3, 2, 1]]},
        [],
        {"rows": []},
        [{"a": None, "b": 2, "c": 3, "d": 4}],
        [{"a": 1, "b": 2, "c": 3}],
        [{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}],
        [{"a": "x", "b": 2, "c": 3, "d": 4}],
        [{"a": True, "b": 2, "c": 3, "d": 4}],
        [{"a": 1e39, "b": 2, "c": 3, "d": 4}],
        [{"a": 10**400, "b": 2, "c": 3, "d": 4}],
        [[1, 2, 3]],
        [1, 2, 3, 4],
        {"columns": ["a", "a"], "data": []},
        {"columns": ["a", "b", "c", "d"], "data": [1]},
        {},
        1,
        None,
        "x",
        [{"a": 1, "b": 2, "c": 3, "d": 4}, 1],
        [[[1, 2, 3, 4]]],
    ],
    "mixed": [
        ROW,
        [ROW, ROW | {"job": None}, ROW | {"age": 2.5, "on": False, "n": 4.0}],
        {name: value for name, value in ROW.items() if name != "job"},
        [[41, "a, \"b\"", 3, True]],
        ROW | {"age": None},
        ROW | {"n": 2.5},
        ROW | {"n": True},
        ROW | {"n": 2**63},
        ROW | {"n": None},
        ROW | {"on": 1},
        ROW | {"job": 5},
        ROW | {"job": "\u00e9\u4e2d"},
        ROW | {"age": "41"},
        ROW | {"age": [41]},
    ],
}  # fmt: skip
RAW = [b"", b"{", b"[1,]", b"\xff", b'{"a": 1, "a": 2}', b"NaN", b"[[NaN, Infinity, 1, 2]]", b"[" * 100, b'"\\ud800"', b"[[1e999,1,1,1]]"]


def tensor(values: Any, *, name: str = "X", datatype: str = "FP32", shape: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": name, "shape": [1, 4] if shape is None else shape, "datatype": datatype, "data": values}], **more}


INFERENCES: list[Any] = [
    tensor([1, 2, 3, 4]),
    tensor([[1, 2, 3, 4]]),
    tensor([0.1, 1e-7, 3, None], id="mine"),
    tensor([1, 2, 3, 4, 5, 6, 7, 8], shape=[2, 4], outputs=[{"name": "scores"}]),
    tensor([[1, 2], [3, 4]]),
    tensor([1, 2, 3]),
    tensor([1, 2, 3, "4"]),
    tensor([1, 2, 3, True]),
    tensor([1, 2, 3, 1e39]),
    tensor("x"),
    tensor([1, 2, 3, 4], datatype="FP64"),
    tensor([1, 2, 3, 4], datatype=1),
    tensor([1, 2, 3, 4], name="Y"),
    tensor([1, 2, 3, 4], shape=[4]),
    tensor([1, 2, 3, 4], shape=[-1, -4]),
    tensor([1, 2, 3, 4], shape=[1.5]),
    tensor([1, 2, 3, 4], shape="x"),
    tensor([1, 2, 3, 4], outputs=[{"name": "nope"}]),
    tensor([1, 2, 3, 4], outputs=[{"name": "label"}, {"name": "label"}]),
    tensor([1, 2, 3, 4], parameters={"binary_data_output": 1}),
    tensor([], shape=[0, 4]),
    tensor([], shape=[2**40, 4]),
    {"inputs": []},
    {"inputs": tensor([1, 2, 3, 4])["inputs"] * 2},
    {"outputs": []},
    [],
    1,
]
CSV = [
    b"41,nurse,3,true\n",
    b"41,nurse,3,true\r\n1.5,,4,0\r\n\r\n",
    b"",
    b"41,nurse,3\n",
    b"x,nurse,3,true\n",
    b',"a,""b""",1,1\n',
    b'1,"a',
    b"1,a,1.0,maybe\n",
    "1,a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei,1,1\r2,b,2,0".encode(),
    "1,a\x85\n".encode(),
    b"\xff",
]


@pytest.fixture(scope="module", params=sorted(MODELS))
def doors(request: pytest.FixtureRequest) -> Any:
    """Both, for one model: ask(path, body, headers) -> the server's and the runner's status and document."""
    function, of = MODELS[request.param]
    server = rig(model(function, of=of, name=request.param), health_route="/health", predict_route="/vertex")
    from aweigh.runner import forms as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(module.environ, b"AIP_HEALTH_ROUTE", b"/health")
        patch.setitem(module.environ, b"AIP_PREDICT_ROUTE", b"/vertex")
        runner = forms_of(function, of)
    runner.name = runner.spec["name"] = request.param

    def both(path: str, body: bytes | None = None, **headers: str) -> tuple[tuple[int, Any], tuple[int, Any]]:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        (one,) = exchange(server, get(path, *lines) if body is None else post(path, body, *lines))
        other = ask(runner, path, body, **headers)
        return (one.status, one.body), (other.status, other.body)

    return request.param, both


def document(status: int, body: bytes) -> Any:
    """What must be equal: the whole answer but its id; of an error that it is one."""
    if status != 200:
        return "error" in json.loads(body)
    told = json.loads(body)
    told.pop("id", None)
    return told


def same(pair: Any, asked: object) -> None:
    one, other = pair
    assert (one[0], document(*one)) == (other[0], document(*other)), (asked, one, other)


def test_rows(doors: Any) -> None:
    name, both = doors
    for body in [*(json.dumps(each).encode() for each in BODIES[name]), *RAW]:
        for path in (f"/predict/{name}", f"/predict/{name}/versions/1", "/invocations"):
            same(both(path, body), (path, body))


def test_instances(doors: Any) -> None:
    name, both = doors
    for each in BODIES[name]:
        same(both("/vertex", json.dumps({"instances": each}).encode()), each)
    same(both("/vertex", b'{"rows": []}'), "no instances")


def test_csv(doors: Any) -> None:
    name, both = doors
    for body in CSV if name == "mixed" else [b"1,2,3,4\n", b" 1 ,2,nan,inf\n", b"1,,3,4\n"]:
        same(both("/invocations", body, content_type="text/csv"), body)
        one, other = both("/invocations", body, content_type="text/csv", accept="text/csv")
        assert one[0] == other[0]
        assert one[0] != 200 or one[1] == other[1]


def test_csv_of_one_column_where_an_empty_line_is_a_row() -> None:
    age = TensorSpec(name="age", datatype=D.FP64, shape=(BATCH,))
    of = Signature(inputs=(age,), outputs=(age,), columns=(Column(name="age", kind=ColumnKind.NUMBER, input="age", nullable=True),))

    def filled(inputs: Tensors) -> list[Tensor]:
        return [np.nan_to_num(inputs["age"], nan=-1)]

    server, runner = rig(model(filled, of=of)), forms_of(filled, of)
    for body, ages in ((b"41\n\n52\n", [41, -1, 52]), (b"41\n\n", [41, -1]), (b"\r\n41", [-1, 41]), (b"41\n", [41])):
        (one,) = exchange(server, post("/invocations", body, "content-type: text/csv"))
        other = ask(runner, "/invocations", body, content_type="text/csv")
        for told in (one, other):
            assert [row["age"] for row in json.loads(told.body)["predictions"]] == ages


def test_what_is_asked_without_a_body(doors: Any) -> None:
    name, both = doors
    same(both(f"/predict/{name}"), "columns")
    for path in (
        "/live",
        "/ready",
        "/ping",
        "/health",
        "/v2/health/live",
        "/v2/health/ready",
        f"/v2/models/{name}/ready",
        "/v2/models/x",
        "/predict/x",
    ):
        one, other = both(path)
        assert one[0] == other[0], path
    one, other = (json.loads(body) for _, body in both(f"/v2/models/{name}"))
    assert one.pop("platform").startswith("aweigh_")
    assert other.pop("platform").startswith("aweigh_")
    assert one == other


def test_inference(doors: Any) -> None:
    name, both = doors
    if name == "iris":
        for each in INFERENCES:
            same(both(f"/v2/models/{name}/infer", json.dumps(each).encode()), each)
    for body in RAW:
        same(both(f"/v2/models/{name}/infer", body), body)


def test_binary_tensors(doors: Any) -> None:
    name, both = doors
    if name != "iris":
        return
    raw = np.arange(8, dtype="<f4").tobytes()
    for size, blob, header in (
        (32, raw, 0),
        (32, raw[:-1], 0),
        (31, raw, 0),
        (32, raw + b"x", 0),
        (-1, raw, 0),
        ("x", raw, 0),
        (32, raw, 10**6),
    ):
        asked = {
            "inputs": [{"name": "X", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}],
            "parameters": {"binary_data_output": True},
        }
        text = json.dumps(asked).encode()
        one, other = both("/v2/models/iris/infer", text + blob, inference_header_content_length=str(header or len(text)))
        assert one[0] == other[0], (size, one, other)
        if one[0] == 200:
            cut = [answer.rindex(b"}") + 1 for answer in (one[1], other[1])]
            assert json.loads(one[1][: cut[0]]) == json.loads(other[1][: cut[1]])
            assert one[1][cut[0] :] == other[1][cut[1] :]


def test_texts_in_json() -> None:
    spec = TensorSpec(name="X", datatype=D.BYTES, shape=(BATCH,))
    of = Signature(inputs=(spec,), outputs=(TensorSpec(name="Y", datatype=D.BYTES, shape=(BATCH,)),))
    server, runner = rig(model(echo, of=of)), forms_of(echo, of)
    for data in (["a", "é\0"], [1], ["\ud800"], []):
        body = json.dumps(tensor(data, datatype="BYTES", shape=[len(data)])).encode()
        (one,) = exchange(server, post("/v2/models/iris/infer", body))
        other = ask(runner, "/v2/models/iris/infer", body)
        same(((one.status, one.body), (other.status, other.body)), data)


@pytest.mark.parametrize(
    ("numbers", "texts", "place"),
    [
        ([[0, 1, 2], [3, 4, 5]], [["a", "b"], ["c", "d"]], None),
        ([[0, np.inf, 2], [np.nan, 4, np.nan]], [["a", "b"], [None, "d"]], None),
        ([[0, 1, 2], [3, np.nan, 5]], [["a", "b"], ["c", "d"]], 4),
        ([[0, 1, 2], [3, 4, -np.inf]], [["a", "b"], ["c", "d"]], 5),
        ([[0, 1, 2], [3, 4, 5]], [["a", "b"], ["c", None]], 3),
    ],
)
def test_values_that_some_columns_refuse(numbers: Any, texts: Any, place: int | None) -> None:
    tensors = {"x": np.array(numbers, dtype=np.float32), "t": np.array(texts, dtype=object)}
    mine = Model(settings_of(SOME), FunctionSession(answer, SOME))
    of_runner = {spec.name: tensor_of(tensors[spec.name], spec.datatype) for spec in SOME.inputs}
    if place is None:
        SOME.check_finite(tensors)
        assert mine.check(of_runner) == 2
        return
    with pytest.raises(InvalidInput, match="which this model does not take"):
        SOME.check_finite(tensors)
    with pytest.raises(Refusal, match=f"at element {place}, which this model does not take"):
        mine.check(of_runner)
