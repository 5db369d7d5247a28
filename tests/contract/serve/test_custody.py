"""Custody over real connections: what a worker hands over, what it says of it request by request, and what the keeper makes of that when it is gone."""

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from tests.serving.kit import BODY, answers, get, post, rig

from aweigh.engine.slab import FREE, SENT, UNKNOWN, UNREAD, Board
from aweigh.serve.wire.custody import HAND_OVER_S, Custody
from aweigh.serve.workers.farewell import last_words, part
from aweigh.serve.workers.keeper import HELD, IDLE, LOST, Keeper, entrusted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="custody asks Linux how much was sent")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    yield
    while Worker.made:
        worker = Worker.made.pop()
        worker.custody.close()
        for connection, *_ in worker.keeper.end():
            connection.close()


class Worker:
    """A listener whose connections are in the custody of `keeper`."""

    made: ClassVar["list[Worker]"] = []

    def __init__(self, listening: socket.socket, board: Board, place: int) -> None:
        self.made.append(self)
        self.keeper = Keeper(board.slabs[place])
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.keeper.entrust(ours)
            connection = entrusted(theirs)
        assert connection is not None
        self.custody = Custody(connection, board.slabs[place])
        self.rig = rig()
        self.rig.listener.entrust(self.custody)
        self._listening = listening
        self.transports: list[asyncio.BaseTransport] = []

    async def accept(self) -> socket.socket:
        """A client's end of a new connection."""
        loop = asyncio.get_running_loop()
        client = socket.create_connection(self._listening.getsockname(), timeout=5)
        client.setblocking(False)
        await self.open(self._listening.accept()[0], SENT)
        assert loop is asyncio.get_running_loop()
        return client

    async def open(self, connection: socket.socket, sent: int) -> None:
        connection.setblocking(False)
        slot = self.custody.take(connection)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: self.rig.listener.connect(slot, sent), connection)
        self.transports.append(transport)

    async def handed_over(self) -> None:
        await asyncio.sleep(4 * HAND_OVER_S)
        assert self.keeper.receive()

    async def dies(self) -> None:
        """As a process does: its files are closed, and nothing is said."""
        self.custody.leave = lambda slot, *, ends=True: None  # type: ignore[method-assign]
        self.custody.close()
        for transport in self.transports:
            transport.abort()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)


async def ask(client: socket.socket, data: bytes, *, answered: bool = True) -> bytes:
    await asyncio.get_running_loop().sock_sendall(client, data)
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65_536), 5) if answered else b""


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_a_slot_tells_what_was_sent_before_the_request_that_was_read_last(listening: socket.socket) -> None:
    async def main() -> None:
        board = Board.create(1)
        worker = Worker(listening, board, 0)
        with await worker.accept() as client:
            slot = 1
            assert board.slabs[0].slots[slot] == UNREAD
            first = await ask(client, post())
            assert board.slabs[0].slots[slot] == SENT
            second = await ask(client, get("/live"))
            assert board.slabs[0].slots[slot] == SENT + len(first)
            await ask(client, post()[:40], answered=False)  # a part of a head
            await asyncio.sleep(0.02)
            assert board.slabs[0].slots[slot] == SENT + len(first) + len(second)
            third = await ask(client, post()[40:])
            continued = await ask(client, post("/v2/models/iris/infer", b"", "Expect: 100-continue", length=len(BODY)))
            assert continued.startswith(b"HTTP/1.1 100")
            assert board.slabs[0].slots[slot] == SENT + sum(map(len, (first, second, third, continued)))
            await ask(client, BODY)
            await ask(client, post() + post())
            assert board.slabs[0].slots[slot] == UNKNOWN
        await asyncio.sleep(0.02)
        assert board.slabs[0].slots[slot] == FREE
        board.close()

    run(main)


def test_a_connection_ends_for_its_client_although_the_keeper_has_it_still(listening: socket.socket) -> None:
    async def main() -> None:
        board = Board.create(1)
        worker = Worker(listening, board, 0)
        with await worker.accept() as client:
            await worker.handed_over()
            assert answers(await ask(client, post("/v2/models/iris/infer", BODY, "Connection: close")))[0].status == 200
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 5) == b""
        worker.keeper.sweep()
        assert worker.keeper.end() == []
        board.close()

    run(main)


def test_verdicts_over_real_connections(listening: socket.socket) -> None:
    async def main() -> None:
        board = Board.create(1)
        worker = Worker(listening, board, 0)
        clients = [await worker.accept() for _ in range(5)]
        fresh, answered, half, pipelined, unread = clients
        await ask(answered, post())
        await ask(half, post())
        await ask(half, post()[:-3], answered=False)
        await ask(pipelined, post() + post()[:-3])
        await worker.handed_over()
        await worker.dies()
        await ask(unread, post(), answered=False)
        await asyncio.sleep(0.02)
        found = worker.keeper.end()
        assert [verdict for _, verdict, _ in found] == [IDLE, IDLE, HELD, LOST, IDLE]
        assert [traffic.unread > 0 for _, _, traffic in found] == [False, False, False, False, True]
        for each in [*clients, *(connection for connection, _, _ in found)]:
            each.close()
        board.close()
        assert fresh.fileno() == -1

    run(main)


def test_clients_of_a_dead_worker_go_on_with_another_or_are_answered(listening: socket.socket) -> None:
    async def main() -> None:
        board = Board.create(2)
        dead, living = Worker(listening, board, 0), Worker(listening, board, 1)
        idle, unread, held = [await dead.accept() for _ in range(3)]
        first = await ask(idle, post())
        await ask(held, post())
        await ask(held, post()[:-1], answered=False)
        await dead.handed_over()
        await dead.dies()
        await ask(unread, post(), answered=False)
        part(dead.keeper, [living.keeper], last_words("killed by SIGKILL", hung=False))
        for connection, sent in living.custody.adopted():
            await living.open(connection, sent)
        loop = asyncio.get_running_loop()
        assert answers(await asyncio.wait_for(loop.sock_recv(unread, 65_536), 5))[0].status == 200
        assert answers(await ask(idle, post()))[0].status == 200
        [told] = answers(await asyncio.wait_for(loop.sock_recv(held, 65_536), 5))
        assert (told.status, told.headers["retry-after"], told.headers["connection"]) == (503, "1", "close")
        assert b'"code":"child-died"' in told.body
        assert await asyncio.wait_for(loop.sock_recv(held, 1), 5) == b""
        await living.handed_over()
        await ask(idle, post()[:-1], answered=False)
        await asyncio.sleep(0.02)
        assert board.slabs[1].slots[1] == SENT + 2 * len(first), "what the first worker had sent counts on"
        await living.dies()
        verdicts = [verdict for connection, verdict, _ in living.keeper.end() if connection.close() is None]
        assert verdicts == [HELD, IDLE]
        await asyncio.sleep(0.6)  # until what was answered is closed
        for client in (idle, unread, held):
            client.close()
        board.close()

    run(main)


def test_who_hung_is_answered_504(listening: socket.socket) -> None:
    [told] = answers(last_words("its event loop stood still for 0.9 s", hung=True))
    assert (told.status, "retry-after" in told.headers) == (504, False)
    assert b'"code":"deadline-exceeded"' in told.body
