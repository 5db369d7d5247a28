"""The yardstick: bare uvloop loops that answer Open Inference V2 for one ONNX file, over REST (httptools) and over gRPC (own HTTP/2 frames).

    python -m bench.bare_loop MODEL.onnx REST_PORT GRPC_PORT [--null]

No routes, limits, metrics, authorisation or error handling: what a product adds is what the ratio shows. `--null` leaves the session out
and answers zeros. Must never grow a feature or a trick of the product's (no head cache, no turn batching), or the yardstick shrinks.
"""

import asyncio
import os
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import httptools
import msgspec
import numpy as np
import onnxruntime
import orjson
import uvloop
from hpack import Decoder

from aweigh.protos import message

Run = Callable[[dict[str, Any]], Sequence[Any]]
DTYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}
DATATYPES = {"tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(int64)": "INT64"}
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM, END_HEADERS, PRIORITY, ACK = 1, 4, 0x20, 1
PREFACE_BYTES = 24
WINDOW_BYTES = 1 << 20


class Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Any


class Request(msgspec.Struct):
    inputs: list[Input]
    id: str | None = None


class Model:
    """The session, and how its outputs are called on the wire."""

    def __init__(self, path: str, *, null: bool) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [(output.name, DATATYPES[output.type]) for output in session.get_outputs()]
        self.names = [name for name, _ in self.outputs]
        self.session = session
        if null:
            zeros = [
                np.zeros([1 if not isinstance(axis, int) else axis for axis in o.shape], DTYPES[DATATYPES[o.type]])
                for o in session.get_outputs()
            ]
            self.run: Run = lambda _: zeros
        else:
            self.run = lambda feeds: session.run(self.names, feeds)


def rest_answer(model: Model) -> Callable[[bytes], bytes]:
    decode = msgspec.json.Decoder(Request).decode

    def answer(body: bytes) -> bytes:
        request = decode(body)
        arrays = model.run({i.name: np.array(i.data, dtype=DTYPES[i.datatype]).reshape(i.shape) for i in request.inputs})
        outputs = [
            {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel()}
            for (name, datatype), array in zip(model.outputs, arrays, strict=True)
        ]
        document = {"model_name": "iris", "model_version": "1", "outputs": outputs}
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

    return answer


def grpc_answer(model: Model) -> Callable[[bytes], bytes]:
    request_of, response = message("inference.ModelInferRequest").FromString, message("inference.ModelInferResponse")

    def answer(body: bytes) -> bytes:
        request = request_of(body)
        feeds = {
            tensor.name: np.frombuffer(raw, dtype=DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        made = response(model_name="iris", model_version="1")
        for (name, datatype), array in zip(model.outputs, model.run(feeds), strict=True):
            made.outputs.add(name=name, datatype=datatype).shape.extend(array.shape)
            made.raw_output_contents.append(array.tobytes())
        return made.SerializeToString()  # type: ignore[no-any-return]  # message classes are made at run time

    return answer


class Rest(asyncio.Protocol):
    """HTTP/1.1, whatever the method and the path."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body = self.body + body if self.body else body

    def on_message_complete(self) -> None:
        answer = self.answer(self.body)
        self.body = b""
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that touches no dynamic table (RFC 7541 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


HEAD = b"\x88" + literal(b"content-type", b"application/grpc")
TRAILER = literal(b"grpc-status", b"0")
GREETING = frame(SETTINGS, 0, 0, struct.pack(">HIHI", 3, 1000, 4, WINDOW_BYTES)) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big"))


class Grpc(asyncio.Protocol):
    """HTTP/2 with prior knowledge; header blocks are decoded once and known by their bytes while the dynamic table stands still."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.buffer = bytearray()
        self.greeted = False
        self.decoder = Decoder()
        self.known: set[bytes] = set()
        self.parts: dict[int, bytes] = {}
        self.received = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        at, end, out = 0, len(buffer), []
        if not self.greeted:
            if end < PREFACE_BYTES:
                return
            at, self.greeted = PREFACE_BYTES, True
        while end - at >= 9:
            size = (buffer[at] << 16) | (buffer[at + 1] << 8) | buffer[at + 2]
            if end - at < 9 + size:
                break
            kind, flags, stream = buffer[at + 3], buffer[at + 4], int.from_bytes(buffer[at + 5 : at + 9], "big")
            payload = bytes(buffer[at + 9 : at + 9 + size])
            at += 9 + size
            if kind == DATA:
                out.append(self.data(flags, stream, payload))
            elif kind == HEADERS:
                self.headers(flags, payload)
            elif kind in {SETTINGS, PING} and not flags & ACK:
                out.append(frame(kind, ACK, 0, payload if kind == PING else b""))
        del buffer[:at]
        if out:
            self.transport.write(b"".join(out))

    def data(self, flags: int, stream: int, payload: bytes) -> bytes:
        self.received += len(payload)
        earlier = self.parts.pop(stream, None)
        if earlier is not None:
            payload = earlier + payload
        window = b""
        if self.received > WINDOW_BYTES:
            window = frame(WINDOW_UPDATE, 0, 0, self.received.to_bytes(4, "big"))
            self.received = 0
        if not flags & END_STREAM:
            self.parts[stream] = payload
            return window
        answer = self.answer(payload[5:])
        body = b"\0" + len(answer).to_bytes(4, "big") + answer
        return (
            window
            + frame(HEADERS, END_HEADERS, stream, HEAD)
            + frame(DATA, 0, stream, body)
            + frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILER)
        )

    def headers(self, flags: int, payload: bytes) -> None:
        if payload in self.known:
            return
        table = self.decoder.header_table.dynamic_entries
        before = len(table)
        self.decoder.decode(payload[5:] if flags & PRIORITY else payload)
        if len(self.decoder.header_table.dynamic_entries) == before:
            self.known.add(payload)
        else:
            self.known.clear()


async def main(path: str, rest_port: int, grpc_port: int, *, null: bool) -> None:
    model = Model(path, null=null)
    loop = asyncio.get_running_loop()
    rest = await loop.create_server(lambda: Rest(rest_answer(model)), "127.0.0.1", rest_port)
    grpc = await loop.create_server(lambda: Grpc(grpc_answer(model)), "127.0.0.1", grpc_port)
    await asyncio.gather(rest.serve_forever(), grpc.serve_forever())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), null="--null" in sys.argv))
