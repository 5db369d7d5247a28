"""The program of one worker: `python -m aweigh.app.worker LINK LISTENING BOARD PARENT`, started by the supervisor with three inherited files.

The composition root of a serving process that has siblings; `serve` is that of one that has none.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from typing import Final

import msgspec

from aweigh.app.logs import set_up_logging
from aweigh.app.serve import make_control, run_loop
from aweigh.core.errors import AweighError
from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.slab import Board
from aweigh.engine.statistics import SharedStatistics
from aweigh.serve.server import HttpServer
from aweigh.serve.wire.acceptor import Shared
from aweigh.serve.workers.messages import Begin, Failed, Link
from aweigh.serve.workers.worker import Worker

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Serve as the supervisor at the other end of the link says, then end."""
    link, listening, board, parent = map(int, sys.argv[1:5])
    _die_with(parent)
    for descriptor in (link, listening, board):
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # the standard library's own signature
    run_loop(_work(Link(socket.socket(fileno=link)), socket.socket(fileno=listening), board))


async def _work(link: Link, listening: socket.socket, board_file: int) -> None:
    await link.connect()
    begin = await link.to_worker()
    if not isinstance(begin, Begin):
        return
    try:
        await _serve(link, begin, listening, board_file)
    except AweighError as error:  # settings that nothing can be served with, such as a door left open
        link.send(Failed(error=error.as_dict()))
        await link.to_worker()  # until the supervisor has heard, and ends this process


async def _serve(link: Link, begin: Begin, listening: socket.socket, board_file: int) -> None:
    settings = msgspec.msgpack.decode(begin.settings, type=Settings)
    set_up_logging(settings)
    listening.settimeout(0)
    board = Board(board_file, begin.slabs)
    shared = Shared(listening=listening, board=board, slab=board.slabs[begin.place])
    statistics = SharedStatistics(board, shared.slab)
    dataplane = DataPlane(settings)
    control = make_control(settings, dataplane, begin.variant, count=statistics.of)
    server = HttpServer(dataplane, shared=shared)
    worker = Worker(dataplane, control, server, link=link, slab=shared.slab, statistics=statistics)
    dataplane.control, dataplane.workers = worker.control, worker.control.overview
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: worker.drain(alone=True))
    if begin.open:
        await server.start()
    try:
        await worker.run()
    finally:
        control.close()
        dataplane.close()


def _die_with(parent: int) -> None:
    """Be killed when the supervisor's thread ends, however it ends. Elsewhere than on Linux the end of the link says it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


if __name__ == "__main__":
    main()
