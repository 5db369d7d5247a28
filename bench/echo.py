"""The other side of `--scenario latency`: a uvloop server that reads as many bytes as a request has and writes an answer that it was given.

`python -m bench.echo PORT REQUEST_BYTES ANSWER_FILE`. What it takes is the price of the sockets, the loop and the client. Must never read what it is sent.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop


class Echo(asyncio.Protocol):
    """Counts bytes."""

    def __init__(self, request_bytes: int, answer: bytes) -> None:
        self.missing = self.request_bytes = request_bytes
        self.answer = answer
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.missing = self.request_bytes
            self.transport.write(self.answer)


async def main(port: int, request_bytes: int, answer: bytes) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Echo(request_bytes, answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).read_bytes()))
