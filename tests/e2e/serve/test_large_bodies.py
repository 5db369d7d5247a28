"""Large bodies over real sockets, on uvloop and on asyncio's own loop: read to their place, with small requests in between."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import uvloop
from tests.serving.kit import PREFACE, Rig, echo, grpc_frame, model, post, rig
from tests.serving.raw_http2 import block, raw_frame

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.protos import message

COUNT = 1_000_003
BYTES = np.random.default_rng(0).normal(size=(1, COUNT)).astype("<f4").tobytes()
SPECS = [TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH, COUNT)) for name in ("X", "Y")]
SMALL = post("/v2/models/none/infer", b"{}")
WAIT_S = 20


def binary_request() -> bytes:
    header = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,%d],"parameters":{"binary_data_size":%d}}],%b}'
    header %= COUNT, len(BYTES), b'"parameters":{"binary_data_output":true}'
    return post("/v2/models/iris/infer", header + BYTES, f"Inference-Header-Content-Length: {len(header)}")


async def rest(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    large = binary_request()
    for sent, statuses in (
        (large, [200]),
        (large, [200]),
        (SMALL, [404]),
        (large + SMALL, [200, 404]),
        (SMALL + large + large, [404, 200, 200]),
    ):
        writer.write(sent)
        for status in statuses:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            assert length is not None
            body = await asyncio.wait_for(reader.readexactly(int(length[1])), WAIT_S)
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert body.endswith(BYTES) is (status == 200)
    writer.close()
    await writer.wait_closed()


async def grpc(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = message("inference.ModelInferRequest")(model_name="iris")
    asked.inputs.add(name="X", datatype="FP32", shape=[1, COUNT])
    asked.raw_input_contents.append(BYTES)
    body, window = grpc_frame(asked.SerializeToString()), (1 << 30).to_bytes(4, "big")
    writer.write(PREFACE + raw_frame(4, 0, 0, (4).to_bytes(2, "big") + window) + raw_frame(8, 0, 0, window))
    pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
    for stream in (1, 3):
        writer.write(raw_frame(1, 4, stream, block()))
        for piece in pieces[:40]:  # what the stream's first window surely takes
            writer.write(raw_frame(0, 0, stream, piece))
        room, rest_of = 1 << 20, pieces[40:]
        room -= 40 * 16_384
        got, ended = b"", False
        while not ended:
            while rest_of and room >= len(rest_of[0]):
                room -= len(rest_of[0])
                writer.write(raw_frame(0, int(len(rest_of) == 1), stream, rest_of.pop(0)))
            head = await asyncio.wait_for(reader.readexactly(9), WAIT_S)
            payload = await asyncio.wait_for(reader.readexactly(int.from_bytes(head[:3], "big")), WAIT_S)
            mine = int.from_bytes(head[5:], "big") == stream
            room += int.from_bytes(payload, "big") if head[3] == 8 and mine else 0
            got += payload if head[3] == 0 else b""
            ended = mine and head[3] < 2 and bool(head[4] & 1)
        assert got.endswith(BYTES)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("ask", [rest, grpc])
def test_large_tensors_come_back_as_they_were(
    ask: Callable[[int], Coroutine[Any, Any, None]], run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    server: Rig = rig(model(echo, of=Signature(inputs=(SPECS[0],), outputs=(SPECS[1],))))

    async def main() -> None:
        listening = await asyncio.get_running_loop().create_server(server.listener.connect, "127.0.0.1", 0)
        async with listening:
            await ask(listening.sockets[0].getsockname()[1])

    run(main())
