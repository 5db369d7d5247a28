"""A18, gRPC: limits on messages, streams, metadata and time, each answered with the code that gRPC has for it; nothing tells of what there is.

The codes against the connection alone are in tests/unit/serve/wire/test_http2_faults.py and test_calls.py.
"""

import gzip
import time

import hpack
import pytest
from tests.serving.kit import grpc_frame, infer_message
from tests.serving.raw_http2 import FIELDS, block, raw_frame
from tests.threats.conftest import Besiege
from tests.threats.siege import BUSY, CALL, INFER, MAX_BODY, MIB, Frames, Siege

DEADLINE, INVALID, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 4, 3, 8, 12
REFUSED_STREAM, CALM = 7, 11
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


def sized(size: int) -> bytes:
    """A message of this many bytes, its raw contents being far too long for its shape."""
    asked = infer_message(name="linear")
    asked.raw_input_contents[0] = bytes(size - 100)
    asked.raw_input_contents[0] += bytes(size - len(asked.SerializeToString()))
    assert len(asked.SerializeToString()) == size
    return bytes(asked.SerializeToString())


@pytest.mark.parametrize("more", [1, 1000])
def test_a_message_of_the_limit_and_one_byte(either: Siege, more: int) -> None:
    with either.attack("limit + 1 byte"), Frames(either.server) as frames:
        frames.call(1, grpc_frame(sized(MAX_BODY + more)))
        assert frames.status(1) == RESOURCE_EXHAUSTED
        frames.call(3)
        assert frames.status(3) == 0


def test_a_message_of_the_limit_is_read(siege: Siege) -> None:
    """It is refused for what it says, not for its size."""
    with siege.attack("limit"), Frames(siege.server) as frames:
        frames.call(1, grpc_frame(sized(MAX_BODY)))
        assert frames.status(1) == INVALID


def test_the_default_limit_is_64_mib_at_both_doors(large_siege: Siege) -> None:
    from tests.serving.kit import post
    from tests.threats.siege import PATH, Line

    with large_siege.attack("64 MiB + 1"), Frames(large_siege.server) as frames:
        frames.call(1, b"\0" + (64 * MIB + 1).to_bytes(4, "big") + bytes(64 * MIB + 1))
        assert frames.status(1) == RESOURCE_EXHAUSTED
    with Line(large_siege.server) as line:
        line.send(post(PATH, b"", length=64 * MIB + 1))
        assert line.receive().status == 413


def test_a_compressed_message_past_the_limit(siege: Siege) -> None:
    message = gzip.compress(bytes(MAX_BODY + 1))
    with siege.attack("limit + 1 byte, inflated"), Frames(siege.server) as frames:
        frames.call(1, b"\1" + len(message).to_bytes(4, "big") + message, ("grpc-encoding", "gzip"))
        assert frames.status(1) == RESOURCE_EXHAUSTED


def test_a_streamed_message_past_the_limit(siege: Siege) -> None:
    """Known from its first five bytes: nothing of it is awaited."""
    with siege.attack("limit + 1 byte, streamed"), Frames(siege.server) as frames:
        frames.open(1, path=STREAM)
        frames.data(1, b"\0" + (MAX_BODY + 1).to_bytes(4, "big"))
        assert frames.status(1) == RESOURCE_EXHAUSTED


def test_a_declared_message_takes_no_memory(siege: Siege) -> None:
    opened = []
    with siege.attack("256 messages of the limit, declared"), Frames(siege.server) as frames:
        for stream in range(1, 400, 2):
            frames.open(stream)
            frames.data(stream, b"\0" + MAX_BODY.to_bytes(4, "big"))
            opened.append(stream)
        siege.check_answers()


def test_ten_thousand_streams_on_one_connection(siege: Siege) -> None:
    """256 may be open at once; those beyond are refused, and whoever goes on regardless is sent away."""
    with siege.attack("10k streams"), Frames(siege.server) as frames:
        head = block()
        frames.send(b"".join(raw_frame(1, 4, stream, head) for stream in range(1, 20_001, 2)))
        assert frames.ends() == CALM
        refused = [stream for kind, _, stream, payload in frames.frames if kind == 3 and payload == REFUSED_STREAM.to_bytes(4, "big")]
        assert min(refused) == 2 * 256 + 1


@pytest.mark.parametrize("form", ["one value", "many fields", "in one frame after another"])
def test_a_megabyte_of_metadata(siege: Siege, form: str) -> None:
    large = b"\x00\x01x\x7f" + hpack.hpack.encode_integer(MIB, 7)[1:] + b"y" * MIB
    sent = block(*((f"x-{at}", "y" * 500) for at in range(2000))) if form == "many fields" else block() + large
    size = 1000 if form == "in one frame after another" else 16_384
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    with siege.attack(f"1 MB of metadata, {form}"), Frames(siege.server) as frames:
        frames.send(raw_frame(1, 0, 1, pieces[0]), *(raw_frame(9, 0, 1, piece) for piece in pieces[1:-1]), raw_frame(9, 4, 1, pieces[-1]))
        assert frames.ends() == CALM


def test_a_call_without_a_deadline_gets_the_servers(besiege: Besiege) -> None:
    siege = besiege("--executor", "thread", "--threads", "1", "--request-timeout-s", "1")
    asked = infer_message([7777.0] * 4, name="lasting", id="x")
    asked.inputs[0].shape[:] = [4, 1]
    started = time.monotonic()
    with Frames(siege.server) as frames:
        frames.call(1, grpc_frame(asked.SerializeToString()))
        assert frames.status(1) == DEADLINE
        assert 0.9 < time.monotonic() - started < 3 * BUSY
        _wait_for_the_thread(frames)


def test_a_call_with_a_longer_deadline_gets_the_servers_too(besiege: Besiege) -> None:
    siege = besiege("--executor", "thread", "--threads", "1", "--request-timeout-s", "1")
    asked = infer_message([7777.0] * 4, name="lasting", id="x")
    asked.inputs[0].shape[:] = [4, 1]
    started = time.monotonic()
    with Frames(siege.server) as frames:
        frames.call(1, grpc_frame(asked.SerializeToString()), ("grpc-timeout", "99H"))
        assert frames.status(1) == DEADLINE
        assert time.monotonic() - started < 3 * BUSY
        _wait_for_the_thread(frames)


def _wait_for_the_thread(frames: Frames) -> None:
    """Until what was given up has ended: the next request to the same model is answered then."""
    asked = infer_message([1.0] * 4, name="lasting", id="x")
    asked.inputs[0].shape[:] = [4, 1]
    for stream in range(3, 201, 2):
        frames.call(stream, grpc_frame(asked.SerializeToString()))
        if frames.status(stream) == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the thread never came back")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_is_off(either: Siege, version: str) -> None:
    with Frames(either.server) as frames:
        frames.call(1, grpc_frame(b"\x3a\0"), path=f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        assert frames.status(1) == UNIMPLEMENTED


@pytest.mark.parametrize(
    "path", ["", "/", "//inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/modelinfer", "/%69nference.GRPCInferenceService/ModelInfer", INFER + "/", "/../" + INFER, "http://here" + INFER]
)  # fmt: skip
def test_other_spellings_of_a_method_are_no_method(either: Siege, path: str) -> None:
    """The authoriser judges the route that answers: there is one spelling, with the leading slash (grpc-go, CVE-2026-33186, took others)."""
    fields = [(name, path.removeprefix(":") if name == ":path" else value) for name, value in FIELDS]
    with Frames(either.server) as frames:
        frames.send(raw_frame(1, 4, 1, block(fields=fields)), raw_frame(0, 1, 1, CALL))
        assert frames.status(1) in {UNIMPLEMENTED, INVALID, -1}
