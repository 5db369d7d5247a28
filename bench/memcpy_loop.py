"""The yardstick of large tensors: bare uvloop loops that copy the tensor at a body's end once, into an array, and write a fixed answer.

    python -m bench.memcpy_loop TENSOR_BYTES REST_ANSWER GRPC_ANSWER REST_PORT GRPC_PORT

No model, no JSON or protobuf, no look at the numbers, no limits: less than this no handler can do that reads a body through an
`asyncio.Protocol`. The answers are files that hold whole responses, as aweigh would send them. Must never grow a feature.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from bench.bare_loop import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GREETING,
    HEAD,
    HEADERS,
    PING,
    PREFACE_BYTES,
    SETTINGS,
    TRAILER,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    frame,
)

LENGTH = b"\r\ncontent-length: "


FREE: list[Any] = []
"""Arrays to use again: new ones would cost more in page faults than in copying."""


class Tensor:
    """One body of a known length: what came of its tensor is copied once, as it comes, to where it stays."""

    def __init__(self, length: int, tensor_bytes: int) -> None:
        self.missing = length
        self.array = FREE.pop() if FREE else np.zeros(tensor_bytes // 4, np.float32)
        self.into = memoryview(self.array).cast("B")
        self.skip = length - tensor_bytes
        self.at = 0

    def add(self, piece: memoryview) -> bool:
        """Whether that was the last piece."""
        self.missing -= len(piece)
        if self.skip:
            skipped = min(self.skip, len(piece))
            self.skip -= skipped
            piece = piece[skipped:]
        end = self.at + len(piece)
        self.into[self.at : end] = piece
        self.at = end
        if not self.missing:
            FREE.append(self.array)
        return not self.missing


class Rest(asyncio.Protocol):
    """HTTP/1.1: any head with a content-length."""

    def __init__(self, tensor_bytes: int, answer: bytes) -> None:
        self.tensor_bytes = tensor_bytes
        self.answer = answer
        self.head = b""
        self.tensor: Tensor | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.tensor is None:
            data = self.head + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.head = data
                return
            at = data[:end].lower().index(LENGTH) + len(LENGTH)
            self.head, self.tensor = b"", Tensor(int(data[at : data.index(b"\r\n", at)]), self.tensor_bytes)
            data = data[end + 4 :]
        if self.tensor.add(memoryview(data)):
            self.tensor = None
            self.transport.write(self.answer)


class Grpc(asyncio.Protocol):
    """HTTP/2 with prior knowledge. DATA is taken as it comes; any other frame that is not whole waits."""

    def __init__(self, tensor_bytes: int, answer: bytes) -> None:
        self.tensor_bytes = tensor_bytes
        self.answer = b"\0" + len(answer).to_bytes(4, "big") + answer
        self.tail = b""
        self.greeted = False
        self.tensors: dict[int, Tensor] = {}
        self.stream = self.missing = 0
        self.received = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        data = self.tail + data if self.tail else data
        self.tail = b""
        at, end, out, view = 0, len(data), [], memoryview(data)
        if not self.greeted:
            if end < PREFACE_BYTES:
                self.tail = data
                return
            at, self.greeted = PREFACE_BYTES, True
        while at < end:
            if self.missing:
                piece = view[at : at + self.missing]
                at += len(piece)
                self.missing -= len(piece)
                out.append(self.data(piece))
                continue
            size = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2] if end - at >= 9 else 0
            if end - at < 9 or (data[at + 3] != DATA and end - at < 9 + size):
                self.tail = data[at:]
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == DATA:
                self.stream, self.missing = int.from_bytes(data[at + 5 : at + 9], "big"), size
                at += 9
                continue
            if kind in {SETTINGS, PING} and not flags & ACK:
                out.append(frame(kind, ACK, 0, data[at + 9 : at + 9 + size] if kind == PING else b""))
            at += 9 + size
        if out:
            self.transport.write(b"".join(out))

    def data(self, piece: memoryview) -> bytes:
        stream, window = self.stream, b""
        self.received += len(piece)
        if self.received > WINDOW_BYTES:
            window = frame(WINDOW_UPDATE, 0, 0, self.received.to_bytes(4, "big"))
            self.received = 0
        tensor = self.tensors.get(stream)
        if tensor is None:
            tensor = self.tensors[stream] = Tensor(int.from_bytes(piece[1:5], "big") + 5, self.tensor_bytes)
        if not tensor.add(piece):
            return window
        del self.tensors[stream]
        return (
            window
            + frame(HEADERS, END_HEADERS, stream, HEAD)
            + frame(DATA, 0, stream, self.answer)
            + frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILER)
        )


async def main(tensor_bytes: int, rest_answer: bytes, grpc_answer: bytes, rest_port: int, grpc_port: int) -> None:
    loop = asyncio.get_running_loop()
    rest = await loop.create_server(lambda: Rest(tensor_bytes, rest_answer), "127.0.0.1", rest_port)
    grpc = await loop.create_server(lambda: Grpc(tensor_bytes, grpc_answer), "127.0.0.1", grpc_port)
    await asyncio.gather(rest.serve_forever(), grpc.serve_forever())


if __name__ == "__main__":
    _, size, rest_file, grpc_file, rest, grpc = sys.argv
    uvloop.run(main(int(size), Path(rest_file).read_bytes(), Path(grpc_file).read_bytes(), int(rest), int(grpc)))
