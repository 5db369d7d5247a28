"""A server of one process from its start to its end, where a rollout was under way: it is ready and can be stopped while the candidate is loaded again."""

import asyncio
import gc
import os
import signal
from typing import Any

from tests.serving.kit import model

from aweigh.app.serve import _serve
from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane


class Server:
    """Stands for the wire."""

    stopped = False

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True


class Follower:
    async def run(self) -> None:
        await asyncio.sleep(60)


class Rollouts:
    """One was under way. Its candidate is never loaded."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def recall(self) -> None:
        self.done.append("recall")

    async def resume(self) -> None:
        self.done.append("resume")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.done.append("cancelled")
            raise

    def close(self) -> None: ...


def test_a_server_is_ready_and_can_be_stopped_while_a_candidate_is_loaded_again() -> None:
    async def scene() -> None:
        dataplane, rollouts, announced = DataPlane(Settings()), Rollouts(), asyncio.Event()
        dataplane.add(model())
        server: Any = Server()

        async def start(_: asyncio.Event) -> list[Any]:
            return list(dataplane.models())

        def announce(_: object) -> None:
            assert rollouts.done == ["recall"], "what is rolled out is known before the first request, and loaded after it"
            announced.set()

        serving = asyncio.ensure_future(_serve(server, dataplane, start, rollouts, Follower(), announce))  # type: ignore[arg-type]  # fakes
        await asyncio.wait_for(announced.wait(), 10)
        assert dataplane.ready
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 10)
        assert server.stopped
        await asyncio.sleep(0)
        assert rollouts.done == ["recall", "resume", "cancelled"]

    try:
        asyncio.run(scene())
    finally:
        gc.unfreeze()
