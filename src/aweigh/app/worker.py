"""The program of one worker: `python -m aweigh.app.worker LINK LISTENING BOARD PARENT`, started by the supervisor with three inherited files,
or what a process forked from the template does.

The composition root of a serving process that has siblings; `serve` is that of one that has none.
"""

import asyncio
import os
import signal
import socket
import sys

import msgspec

from aweigh.app.leaving import closed_at_the_end
from aweigh.app.log_writer import lines_written_aside
from aweigh.app.logs import set_up_logging
from aweigh.app.serve import make_control, run_loop
from aweigh.core.errors import AweighError
from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.slab import Board
from aweigh.engine.statistics import SharedStatistics
from aweigh.serve.server import HttpServer
from aweigh.serve.wire.acceptor import Shared
from aweigh.serve.workers.keeper import entrusted
from aweigh.serve.workers.messages import Begin, Failed, Link
from aweigh.serve.workers.processes import die_with
from aweigh.serve.workers.worker import Worker


def main() -> None:
    """Serve as the supervisor at the other end of the link says, then end."""
    link, listening, board, parent = map(int, sys.argv[1:5])
    die_with(parent)
    for descriptor in (link, listening, board):
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # the standard library's own signature
    work(link, listening, board)


def work(link: int, listening: int, board: int) -> None:
    """The same, in a process that dies with its parent already."""
    supervisor = socket.socket(fileno=link)
    keeper = entrusted(supervisor)
    run_loop(_work(Link(supervisor), socket.socket(fileno=listening), keeper, board))


async def _work(link: Link, listening: socket.socket, keeper: socket.socket | None, board_file: int) -> None:
    await link.connect()
    begin = await link.to_worker()
    if not isinstance(begin, Begin):
        return
    try:
        await _serve(link, begin, listening, keeper, board_file)
    except AweighError as error:  # settings that nothing can be served with, such as a door left open
        link.send(Failed(error=error.as_dict()))
        await link.to_worker()  # until the supervisor has heard, and ends this process


async def _serve(link: Link, begin: Begin, listening: socket.socket, keeper: socket.socket | None, board_file: int) -> None:
    settings = msgspec.msgpack.decode(begin.settings, type=Settings)
    set_up_logging(settings)
    listening.settimeout(0)
    board = Board(board_file, begin.slabs)
    shared = Shared(listening=listening, keeper=keeper, board=board, slab=board.slabs[begin.place])
    statistics = SharedStatistics(board, shared.slab)
    dataplane = DataPlane(settings)
    dataplane.routing.count_with(statistics.of)
    control = make_control(settings, dataplane, begin.variant, count=statistics.of)
    server = HttpServer(dataplane, shared=shared)
    worker = Worker(dataplane, control, server, link=link, slab=shared.slab, statistics=statistics)
    dataplane.control = dataplane.rollouts = worker.control
    dataplane.workers = worker.control.overview
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: worker.drain(alone=True))
    with closed_at_the_end(dataplane, control), lines_written_aside(dataplane.counts):
        if begin.open:
            await server.start()
        await worker.run()


if __name__ == "__main__":
    main()
