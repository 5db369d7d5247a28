"""While no worker can answer somebody does, and the next request finds a worker again."""

import asyncio
import socket

from aweigh.serve.workers.lobby import Lobby


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer


def test_alive_not_ready_come_again() -> None:
    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        port = listening.getsockname()[1]
        lobby = Lobby(listening)
        for _ in range(2):  # as often as it is needed
            lobby.open()
            lobby.open()
            await asyncio.sleep(0)
            assert (await ask(port, b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            for path in (b"GET /ready", b"POST /v2/models/iris/infer", b"PRI * HTTP/2.0"):
                answer = await ask(port, path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in answer
                assert b"not-ready" in answer
            lobby.close()
            await asyncio.sleep(0)
        listening.close()

    asyncio.run(main())
