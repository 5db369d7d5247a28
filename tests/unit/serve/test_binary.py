"""The binary tensor extension over REST: sizes that are believed only where they fit, views instead of copies, every form of answer."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from tests.serving.kit import Answer, Rig, echo, echo_signature, exchange, model, post, rig

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.serve.binary import Blobs, header_length, raw_output, raw_request

HEADER = "Inference-Header-Content-Length"
ROWS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype="<f4")


def ask(server: Rig, document: dict[str, Any], *blobs: bytes, length: object = None, name: str = "iris") -> Answer:
    text = json.dumps(document).encode()
    return exchange(
        server, post(f"/v2/models/{name}/infer", text + b"".join(blobs), f"{HEADER}: {len(text) if length is None else length}")
    )[0]


def given(size: object = 32, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": size}}], **more}


def tensors(answer: Answer) -> dict[str, bytes]:
    """The binary outputs of an answer."""
    assert answer.headers["content-type"] == "application/octet-stream"
    at = int(answer.headers[HEADER.lower()])
    found = {}
    for output in json.loads(answer.body[:at])["outputs"]:
        if "parameters" in output:
            assert "data" not in output
            end = at + output["parameters"]["binary_data_size"]
            found[output["name"]] = answer.body[at:end]
            at = end
    assert at == len(answer.body)
    return found


def test_binary_both_ways() -> None:
    found = ask(rig(), given(parameters={"binary_data_output": True}), ROWS.tobytes())
    assert tensors(found) == {"label": np.array([10, 26], "<i8").tobytes(), "scores": ROWS[:, :3].tobytes()}


def test_json_in_binary_out_and_the_other_way_round() -> None:
    document = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [2, 4], "data": ROWS.ravel().tolist()}]}
    wanted = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "label"}]
    found = exchange(rig(), post(body=json.dumps({**document, "outputs": wanted, "id": "7"}).encode()))[0]
    assert tensors(found) == {"scores": ROWS[:, :3].tobytes()}
    said = json.loads(found.body[: int(found.headers[HEADER.lower()])])
    assert list(said) == ["id", "model_name", "model_version", "outputs"]
    assert said["outputs"][1]["data"] == [10, 26]
    back = ask(rig(), given(), ROWS.tobytes())
    assert json.loads(back.body)["outputs"][0]["data"] == [10, 26]
    mixed = {
        "outputs": [{"name": "label", "parameters": {"binary_data": False}}, {"name": "scores"}],
        "parameters": {"binary_data_output": True},
    }
    assert tensors(ask(rig(), given(**mixed), ROWS.tobytes())) == {"scores": ROWS[:, :3].tobytes()}


EVERY = {
    Datatype.FP16: np.array([1.5, -0.25, np.inf], "<f2").tobytes(),
    Datatype.BF16: (np.array([1.5, -0.25, 3e38], "<f4").view("<u4") >> 16).astype("<u2").tobytes(),
    Datatype.BOOL: b"\1\0\1",
    Datatype.BYTES: b"".join(struct.pack("<I", len(text)) + text for text in (b"", b"\xff\0", "ä".encode())),
    Datatype.UINT64: np.array([0, 1, 2**64 - 1], "<u8").tobytes(),
    Datatype.INT8: b"\x80\0\x7f",
}


@pytest.mark.parametrize(("datatype", "raw"), EVERY.items(), ids=str)
def test_every_datatype_comes_back_as_it_went(datatype: Datatype, raw: bytes) -> None:
    server = rig(model(echo, of=echo_signature(datatype)))
    document = {
        "inputs": [{"name": "X", "datatype": datatype.value, "shape": [3], "parameters": {"binary_data_size": len(raw)}}],
        "outputs": [{"name": "Y", "parameters": {"binary_data": True}}],
    }
    assert tensors(ask(server, document, raw)) == {"Y": raw}
    if datatype in {Datatype.FP16, Datatype.BF16}:
        del document["outputs"]
        assert ask(server, document, raw).status == 400


def test_a_numeric_input_is_a_view_into_the_body() -> None:
    seen: list[Tensor] = []

    def note(inputs: Tensors) -> list[Tensor]:
        seen.append(inputs["X"])
        return [inputs["X"]]

    image = np.random.default_rng(1).normal(size=(1, 3, 224, 224)).astype("<f4")
    server = rig(model(note, of=echo_signature(Datatype.FP32, (BATCH, 3, 224, 224))))
    document = {
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 3, 224, 224], "parameters": {"binary_data_size": image.nbytes}}],
        "parameters": {"binary_data_output": True},
    }
    assert tensors(ask(server, document, image.tobytes())) == {"Y": image.tobytes()}
    assert not seen[0].flags.owndata
    assert not seen[0].flags.writeable
    base: Any = seen[0]
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, memoryview)
    assert len(base.obj) > image.nbytes, "the body itself"


ONE_FORM = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'."
)
MISTAKES: dict[str, tuple[dict[str, Any], bytes, object, str]] = {
    "size too small": (given(28), bytes(28), None, "input byte size mismatch for input 'X' for model 'iris'. Expected 32, got 28"),
    "size too large": (given(36), bytes(36), None, "input byte size mismatch for input 'X' for model 'iris'. Expected 32, got 36"),
    "data cut off": (given(), bytes(20), None, "unexpected size for input 'X', expecting 12 additional bytes for model 'iris'"),
    "no data": (given(), b"", None, "must specify valid 'Infer-Header-Content-Length' in request header and 'binary_data_size' when passing inputs in binary data format"),
    "more data": (given(), bytes(33), None, "unexpected additional input data for model 'iris'"),
    "negative size": (given(-32), bytes(32), None, "Unable to parse 'binary_data_size': attempt to access JSON non-unsigned-integer as unsigned-integer"),
    "true size": (given(True), bytes(32), None, "Unable to parse 'binary_data_size': attempt to access JSON non-unsigned-integer as unsigned-integer"),
    "text size": (given("32"), bytes(32), None, "Unable to parse 'binary_data_size': attempt to access JSON non-unsigned-integer as unsigned-integer"),
    "size of 2^70": (given(2**70), bytes(32), None, f"unexpected size for input 'X', expecting {2**70 - 32} additional bytes for model 'iris'"),
    "header of words": (given(), bytes(32), "many", "Unable to parse Inference-Header-Content-Length, got: many"),
    "header of digits no one reads": (given(), bytes(32), "9" * 400, "Unable to parse Inference-Header-Content-Length, got: " + "9" * 40),
    "negative header": (given(), bytes(32), -1, "inference header size should be in range (0, "),
    "header past the end": (given(), bytes(32), 10_000, "inference header size should be in range (0, "),
    "header too short": (given(), bytes(32), 20, "the body is not JSON"),
    "both forms": ({"inputs": [given()["inputs"][0] | {"data": [1] * 8}]}, bytes(32), None, ONE_FORM + " But set 'data' 'binary_data_size'"),
    "shared memory": ({"inputs": [given()["inputs"][0] | {"data": [1] * 8, "parameters": {"shared_memory_region": "r"}}]}, b"", None, ONE_FORM + " But set 'data' 'shared_memory_region'"),
    "binary of text": (given(outputs=[{"name": "label", "parameters": {"binary_data": "yes"}}]), bytes(32), None, "Unable to parse 'binary_data'"),
    "raw of the wrong size": ({}, b"", 0, "input byte size mismatch for input 'X' for model 'iris'. Expected 16, got 2"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "blob", "length", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_and_the_next_request_is_answered(document: dict[str, Any], blob: bytes, length: object, text: str) -> None:
    server = rig()
    found = ask(server, document, blob, length=length)
    assert found.status == 400
    assert json.loads(found.body)["error"].startswith(text)
    assert exchange(server, post())[0].status == 200
    assert server.dataplane.find("iris").statistics.failed or length not in {None, 0}


def test_a_raw_body_is_the_only_input() -> None:
    found = exchange(rig(), post("/v2/models/iris/infer", ROWS[:1].tobytes(), f"{HEADER}: 0"))[0]
    assert tensors(found) == {"label": np.array([10], "<i8").tobytes(), "scores": ROWS[:1, :3].tobytes()}


def signature(*specs: tuple[str, Datatype, tuple[int | str, ...]]) -> Signature:
    inputs = tuple(TensorSpec(name=name, datatype=datatype, shape=shape) for name, datatype, shape in specs)
    return Signature(inputs=inputs, outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH,)),))


def test_what_a_raw_body_settles_and_what_not() -> None:
    one = raw_request(bytes(24), signature(("X", Datatype.FP32, (BATCH, "n", 2))), "m")["X"]
    assert one.shape == (1, 3, 2)
    text = raw_request(b"\5words", signature(("X", Datatype.BYTES, (BATCH,))), "m")["X"]
    assert text.tolist() == [b"\5words"]
    for wrong, said in (
        (signature(("X", Datatype.FP32, (BATCH, "n", "k"))), "more than one variable-sized dimension"),
        (signature(("X", Datatype.BYTES, (BATCH, 2))), "must have input shape"),
        (signature(("X", Datatype.FP32, (BATCH,)), ("Z", Datatype.FP32, (BATCH,))), "only have 1 input"),
        (signature(("X", Datatype.FP32, (BATCH, "n", 0))), "size mismatch"),
    ):
        with pytest.raises(InvalidInput, match=said):
            raw_request(bytes(24), wrong, "m")


def test_lengths_and_blobs_by_themselves() -> None:
    assert header_length(b" 3 ", b"abc") == 3
    blobs = Blobs(memoryview(b"abcdef"), "m")
    assert bytes(blobs.take("a", 2)) == b"ab"
    assert bytes(blobs.take("b", 0)) == b""
    assert bytes(blobs.take("c", 4)) == b"cdef"
    blobs.finish()


@pytest.mark.parametrize(
    "output",
    [np.zeros((0, 3), "<f4"), np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)), np.float32(3.0).reshape(()), np.arange(6, dtype="<f4")[::2]],
)  # fmt: skip
def test_outputs_in_any_memory_order_are_sent_row_by_row(output: np.ndarray) -> None:
    assert bytes(raw_output(output, Datatype.FP32)) == output.tobytes()
