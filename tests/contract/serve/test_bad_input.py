"""The same mistakes through every door: the status each dialect has for them, the same words over REST and gRPC, the next request answered."""

import dataclasses
import json
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from tests.serving.kit import BODY, Http2Peer, Rig, answers, echo, echo_signature, infer_message, model, post, rig

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.protos import message

NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each input shape. "
    "If you want to specify the full shape including the batch dim in your input dims config, try setting max_batch_size to zero. "
    "See the model configuration docs for more info on max_batch_size."
)
OK, INVALID, NOT_FOUND, TOO_LARGE = (200, 0), (400, 3), (404, 5), (413, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One request that both doors can make."""

    inputs: list[tuple[str, str, list[int], list[Any]]]
    model: str = "iris"
    version: str = ""
    outputs: tuple[str, ...] = ()
    raw: bool = False

    def json(self) -> bytes:
        asked: dict[str, Any] = {"inputs": [dict(zip(("name", "datatype", "shape", "data"), one, strict=True)) for one in self.inputs]}
        if self.outputs:
            asked["outputs"] = [{"name": name} for name in self.outputs]
        return json.dumps(asked).encode()

    def proto(self) -> bytes:
        asked = message("inference.ModelInferRequest")(model_name=self.model, model_version=self.version)
        fields = {
            "FP32": "fp32_contents",
            "INT64": "int64_contents",
            "BYTES": "bytes_contents",
            "UINT8": "uint_contents",
            "INT8": "int_contents",
        }
        for name, datatype, shape, data in self.inputs:
            tensor = asked.inputs.add(name=name, datatype=datatype, shape=shape)
            values = [item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item for item in data]
            getattr(tensor.contents, fields.get(datatype, "fp32_contents")).extend(values)
        for name in self.outputs:
            asked.outputs.add(name=name)
        return bytes(asked.SerializeToString())


def iris(data: list[Any], shape: list[int] | None = None, *, name: str = "X", datatype: str = "FP32", **more: Any) -> Asked:
    return Asked(inputs=[(name, datatype, [1, 4] if shape is None else shape, data)], **more)


ROW = [1.0, 2.0, 3.0, 4.0]
CASES: dict[str, tuple[Asked, tuple[int, int], str]] = {
    "right": (iris(ROW), OK, ""),
    "unknown model": (iris(ROW, model="irs"), NOT_FOUND, "Request for unknown model: 'irs' is not found (did you mean 'iris'?)"),
    "unknown version": (iris(ROW, version="7"), NOT_FOUND, "Request for unknown model: 'iris' version 7 is not found (loaded versions of 'iris': 1)"),
    "wrong datatype": (iris([1, 2, 3, 4], datatype="INT64"), INVALID, "input 'X': expected datatype FP32, got 'INT64' (the model's metadata lists datatypes)"),
    "no datatype": (iris(ROW, datatype="FLOAT"), INVALID, "input 'X': expected datatype FP32, got 'FLOAT' (no such datatype) (the model's metadata lists datatypes)"),
    "wrong name": (iris(ROW, name="x"), INVALID, "[request id: <id_unknown>] unexpected inference input 'x' for model 'iris' (this model takes 'X')"),
    "wrong columns": (iris(ROW[:3], [1, 3]), INVALID, "[request id: <id_unknown>] unexpected shape for input 'X' for model 'iris'. Expected [-1,4], got [1,3]. " + NOTE),
    "wrong rank": (iris(ROW, [4]), INVALID, "[request id: <id_unknown>] unexpected shape for input 'X' for model 'iris'. Expected [-1,4], got [4]. " + NOTE),
    "missing input": (Asked(inputs=[]), INVALID, "[request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'iris'. Got input(s) [], but missing required input(s) ['X']. Please provide all required input(s). (inputs given: none)"),
    "extra input": (Asked(inputs=[("X", "FP32", [1, 4], ROW), ("Z", "FP32", [1], [1.0])]), INVALID, "[request id: <id_unknown>] unexpected inference input 'Z' for model 'iris' (this model takes 'X')"),
    "input twice": (Asked(inputs=[("X", "FP32", [1, 4], ROW)] * 2), INVALID, "$.inputs[1]: input 'X' is given twice"),
    "unknown output": (iris(ROW, outputs=("best",)), INVALID, "unexpected output 'best' (this model gives label, scores)"),
    "output twice": (iris(ROW, outputs=("label", "label")), INVALID, "output 'label' is asked for twice"),
    "one output": (iris(ROW, outputs=("scores",)), OK, ""),
    "negative axis": (iris(ROW, [-1, 4]), INVALID, "$.inputs[0].shape is [-1, 4]: sizes are 0 or more (-1 stands for a variable size in metadata only)"),
    "huge axes": (iris([], [2**31, 2**31]), TOO_LARGE, "$.inputs[0].shape has an axis of more than 67108864 elements (max_elements sets the limit)"),
    "too many elements": (iris([], [2**20, 2**20]), TOO_LARGE, f"$.inputs[0].shape [1048576, 1048576] has {2**40} elements; this server takes 67108864 (max_elements sets the limit)"),
    "33 axes": (iris([1.0], [1] * 33), INVALID, "$.inputs[0].shape has 33 axes; 32 is the most"),
    "no rows": (iris([], [0, 4]), OK, ""),
    "too many rows": (iris([0.0] * 404, [101, 4]), INVALID, "[request id: <id_unknown>] inference request batch-size must be <= 100 for 'iris' (send fewer rows, or raise max_rows)"),
    "NUL in text": (iris(["a\0b"], [1], datatype="BYTES", model="words"), OK, ""),
    "axes that differ": (Asked(model="pair", inputs=[("A", "FP32", [2], [1.0, 2.0]), ("B", "FP32", [3], [1.0, 2.0, 3.0])]), INVALID, "[request id: <id_unknown>] input 'B' batch size does not match other inputs for 'pair' (unexpected shape for input 'B': expected [-1], got [3] (axis 'batch' is 2 in another input))"),
    "one of two": (Asked(model="pair", inputs=[("A", "FP32", [1], [1.0])]), INVALID, "[request id: <id_unknown>] expected 2 inputs but got 1 inputs for model 'pair'. Got input(s) ['A'], but missing required input(s) ['B']. Please provide all required input(s). (inputs given: 'A')"),
    "NaN where it is refused": (iris([1.0, float("nan"), 3.0, 4.0], model="finite"), INVALID, "input 'X': NaN at [0, 1], which this model does not take (the model was trained without such values: send a number)"),
    "infinity where it is refused": (iris([1.0, 2.0, 3.0, float("-inf")], model="finite"), INVALID, "input 'X': an infinity at [0, 3], which this model does not take (the model was trained without such values: send a number)"),
    "NaN where it is taken": (iris([1.0, float("nan"), 3.0, 4.0]), OK, ""),
}  # fmt: skip
# The same mistake in values: the field has another name at each door.
VALUES: dict[str, tuple[Asked, str]] = {
    "too few values": (iris(ROW[:3]), "has 3 elements, but shape [1, 4] needs 4"),
    "too many values": (iris([*ROW, 5.0]), "has 5 elements, but shape [1, 4] needs 4"),
    "out of range": (iris([300], [1], datatype="UINT8", model="bytes"), "[0] is 300: UINT8 holds 0 to 255"),
}


@pytest.fixture(scope="module")
def server() -> Rig:
    pair = Signature(
        inputs=tuple(TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH,)) for name in "AB"),
        outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH,)),),
    )
    finite = TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, 4), takes_missing=False, takes_infinite=False)
    return rig(
        model(),
        model(echo, of=echo_signature(Datatype.BYTES), name="words"),
        model(echo, of=echo_signature(Datatype.UINT8), name="bytes"),
        model(lambda inputs: [np.asarray(inputs["A"]) + inputs["B"]], of=pair, name="pair"),
        model(
            echo, of=Signature(inputs=(finite,), outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH, 4)),)), name="finite"
        ),
        max_rows=100,
    )


def rest(server: Rig, asked: Asked) -> tuple[int, str]:
    path = f"/v2/models/{asked.model}" + (f"/versions/{asked.version}" if asked.version else "") + "/infer"
    _, pipe = server.open()
    pipe.send(post(path, asked.json()) + post())
    found = answers(pipe.take())
    assert found[1].status == 200
    body = json.loads(found[0].body)
    assert set(body) <= {"error", "hint"} or found[0].status == 200
    return found[0].status, whole(body.get("error", ""), body.get("hint", ""))


def whole(text: str, hint: str) -> str:
    """Message and hint, wherever the door has them."""
    return f"{text} ({hint})" if hint else text


def grpc(server: Rig, asked: Asked) -> tuple[int, str]:
    peer = Http2Peer(server)
    first, second = peer.call(asked.proto()), peer.call(infer_message().SerializeToString())
    peer.pump()
    assert peer.response(second).grpc_status == 0
    reply = peer.response(first)
    return reply.grpc_status, whole(reply.grpc_text, unquote(reply.headers.get("aweigh-hint", "")))


@pytest.mark.parametrize(("asked", "code", "text"), CASES.values(), ids=CASES)
def test_open_inference_says_the_same_at_both_doors(server: Rig, asked: Asked, code: tuple[int, int], text: str) -> None:
    assert rest(server, asked) == (code[0], text)
    assert grpc(server, asked) == (code[1], text)


@pytest.mark.parametrize(("asked", "text"), VALUES.values(), ids=VALUES)
def test_wrong_values_are_said_with_the_doors_own_field(server: Rig, asked: Asked, text: str) -> None:
    (status, text_of_rest), (code, also_said) = rest(server, asked), grpc(server, asked)
    assert (status, code) == INVALID
    assert text_of_rest.startswith("$.inputs[0].data")
    assert also_said.startswith("$.inputs[0].contents")
    assert text_of_rest.endswith(text)
    assert also_said.endswith(text)


def test_raw_contents_of_the_wrong_length(server: Rig) -> None:
    asked = infer_message([1, 2, 3, 4])
    asked.raw_input_contents[0] = b"abc"
    for payload, text in (
        (asked, "input byte size mismatch for input 'X' for model 'iris'. Expected 16, got 3"),
        (infer_message([1, 2, 3, 4]), ""),
    ):
        peer = Http2Peer(server)
        stream = peer.call(payload.SerializeToString())
        peer.pump()
        assert peer.response(stream).grpc_text == text
    asked.raw_input_contents.append(b"")
    peer = Http2Peer(server)
    stream = peer.call(asked.SerializeToString())
    peer.pump()
    assert (peer.response(stream).grpc_status, "2 entries for 1 inputs" in peer.response(stream).grpc_text) == (3, True)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0", b"\0\0\0\0\5abc", b"\0\0\0\0\0\0\0\0\0\0", b"\2\0\0\0\0", b"\0\0\0\0\3\xff\xff\xff", b"\0\xff\xff\xff\xff"],
)  # fmt: skip
def test_what_is_no_grpc_message(server: Rig, payload: bytes) -> None:
    peer = Http2Peer(server)
    stream = peer.open("/inference.GRPCInferenceService/ModelInfer")
    peer.client.send_data(stream, payload, end_stream=True)
    peer.pump()
    assert peer.response(stream).grpc_status == 3


BODIES: dict[str, bytes] = {
    "empty": b"", "no JSON": b"hello", "half": BODY[:-3], "list": b"[]", "number": b"7", "null": b"null", "no inputs": b"{}",
    "inputs no list": b'{"inputs":{}}', "no data": b'{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32"}]}',
    "data null": BODY.replace(b"[1,2,3,4]", b"null"), "data text": BODY.replace(b"[1,2,3,4]", b'"abcd"'), "shape text": BODY.replace(b"[1,4]", b'"1,4"'),
    "shape of halves": BODY.replace(b"[1,4]", b"[1,4.5]"), "text in data": BODY.replace(b"[1,", b'["1",'), "bool in data": BODY.replace(b"[1,", b"[true,"),
    "too large a number": BODY.replace(b"[1,2", b"[1e39,2"), "number of 400 digits": BODY.replace(b"[1,2", b"[1" + b"0" * 400 + b",2"),
    "uneven nesting": BODY.replace(b"[1,2,3,4]", b"[[1,2],[3,4]]"), "nested too deep": BODY.replace(b"[1,2,3,4]", b"[" * 100_000 + b"]" * 100_000),
    "unclosed nesting": b"[" * 100_000, "invalid UTF-8": BODY.replace(b'"X"', b'"\xff"'), "lone surrogate": BODY.replace(b'"X"', b'"\\ud800"'),
    "lone surrogate beside NaN": BODY.replace(b'"X"', b'"\\ud800"').replace(b"[1,2", b"[NaN,2"), "id with lone surrogate": BODY[:-1] + b',"id":"\\ud800","x":NaN}',
    "id no text": BODY[:-1] + b',"id":7}', "outputs no list": BODY[:-1] + b',"outputs":{}}', "NUL": b"\0" * 100, "axis of 5000 digits": BODY.replace(b"[1,4]", b"[1,1" + b"0" * 4000 + b"]"),
    "a million axes": BODY.replace(b"[1,4]", b"[" + b"1," * 999_999 + b"4]"), "binary extension": BODY + bytes(16),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_bodies_that_are_no_inference_request(server: Rig, body: bytes) -> None:
    _, pipe = server.open()
    pipe.send(post(body=body) + post())
    first, second = answers(pipe.take())
    assert first.status in {400, 413}
    assert set(json.loads(first.body)) <= {"error", "hint"}
    assert len(first.body) < 2000
    assert second.status == 200


ROWS: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", "the body is not JSON"),
    "text": (b'"a"', "the body is no row"),
    "missing column": (b'{"a":1,"b":2,"c":3}', "row 0: column 'd' is missing"),
    "unknown column": (b'{"a":1,"b":2,"c":3,"dd":4}', "row 0: unexpected column 'dd'"),
    "text for a number": (b'[{"a":"1","b":2,"c":3,"d":4}]', "column 'a', row 0: got '1', expected a number"),
    "null": (b'[{"a":1,"b":2,"c":3,"d":4},{"a":null,"b":2,"c":3,"d":4}]', "column 'a', row 1: got null"),
    "boolean": (b'{"a":true,"b":2,"c":3,"d":4}', "column 'a', row 0: got True"),
    "too large": (b'{"a":1e39,"b":2,"c":3,"d":4}', "column 'a', row 0: 1e+39 does not fit FP32"),
    "short row": (b'{"columns":["a","b","c","d"],"data":[[1,2,3]]}', "row 0 is not a list of 4 values"),
    "column twice": (b'{"columns":["a","a"],"data":[[1,2]]}', "a column is named twice"),
    "row no object": (b'[{"a":1,"b":2,"c":3,"d":4},7]', "row 1 is not an object"),
    "deep": (b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}", "nests deeper than 64"),
    "surrogate": (b'{"a":NaN,"\\ud800":2,"c":3,"d":4}', "unexpected column"),
}


@pytest.mark.parametrize(("body", "text"), ROWS.values(), ids=ROWS)
def test_rows_that_do_not_fit(server: Rig, body: bytes, text: str) -> None:
    _, pipe = server.open()
    pipe.send(post("/predict/iris", body) + post())
    first, second = answers(pipe.take())
    said = json.loads(first.body)
    assert first.status == 400
    assert list(said) == ["error", "code", "hint", "request_id"]
    assert text in said["error"]
    assert (said["code"], said["request_id"]) == ("invalid-input", first.headers["x-request-id"])
    assert second.status == 200


def test_rows_in_every_form_get_the_same_answer(server: Rig) -> None:
    forms = [
        b'{"rows":[{"a":1,"b":2,"c":3,"d":4}]}', b'[{"d":4,"c":3,"b":2,"a":1}]', b'{"a":1,"b":2,"c":3,"d":4}',
        b'{"columns":["b","a","c","d"],"data":[[2,1,3,4]]}', b"[[1,2,3,4]]",
    ]  # fmt: skip
    for form in forms:
        _, pipe = server.open()
        pipe.send(post("/predict/iris", form))
        found = json.loads(answers(pipe.take())[0].body)
        assert found["predictions"] == [{"label": 10, "probability_0": 1.0, "probability_1": 2.0, "probability_2": 3.0}]
        assert (found["model"], found["version"]) == ("iris", "1")
