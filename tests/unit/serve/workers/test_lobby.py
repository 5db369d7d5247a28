"""While no worker can answer somebody does, and the next request finds a worker again."""

import asyncio
import contextlib
import errno
import socket

import pytest

from aweigh.serve.workers.lobby import Lobby

LIVE = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlive\n"


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


def test_closed_at_whatever_moment_of_its_opening_it_watches_nothing_any_more() -> None:
    async def main(turns: int) -> list[dict[str, object]]:
        failures = list[dict[str, object]]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        lobby = Lobby(listening)
        lobby.open()
        for _ in range(turns):
            await asyncio.sleep(0)
        lobby.close()
        with socket.create_connection(listening.getsockname()):
            for _ in range(5):
                await asyncio.sleep(0)
            taken = listening.accept()[0]  # nobody else has taken it
            taken.close()
        listening.close()
        return failures

    for turns in range(5):
        assert asyncio.run(main(turns)) == []


def test_who_is_accepted_in_the_turn_in_which_it_closes_is_answered_all_the_same() -> None:
    async def main(turns: int) -> bytes:
        listening = socket.create_server(("127.0.0.1", 0))
        lobby = Lobby(listening)
        lobby.open()
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(turns):
            await asyncio.sleep(0)
        lobby.close()
        with contextlib.suppress(BlockingIOError):
            listening.accept()[0].close()  # not accepted by it: some worker's
        answer = await asyncio.wait_for(reader.read(), 2)
        writer.close()
        listening.close()
        return answer

    assert {asyncio.run(main(turns)) for turns in range(6)} <= {b"", LIVE}
    assert asyncio.run(main(5)) == LIVE


def test_without_files_it_waits_and_goes_on_when_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listening(socket.socket):
        asked = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.asked += 1
            if self.asked < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def main() -> int:
        listening = Listening()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        lobby = Lobby(listening)
        lobby.open()
        assert await ask(listening.getsockname()[1], b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n") == LIVE
        lobby.close()
        listening.close()
        return listening.asked

    monkeypatch.setattr("aweigh.serve.workers.lobby._NO_FILES_S", 0.02)
    assert asyncio.run(main()) <= 5
