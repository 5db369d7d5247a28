"""The link between supervisor and worker: whole messages, in order, also those sent before it was connected; the end is seen."""

import asyncio
import socket

from aweigh.core.errors import ModelNotFound, from_dict
from aweigh.serve.workers.messages import Ask, Become, Did, Drain, Link, Version


def test_messages_arrive_whole_and_in_order_and_the_end_is_seen() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        supervisor, worker = Link(left), Link(right)
        become = Become(models=tuple(Version(name=f"model-{at}", number=at) for at in range(5000)), generation=3)
        supervisor.send(become)
        await supervisor.connect()
        await worker.connect()
        supervisor.send(Drain(alone=True))
        assert await worker.to_worker() == become
        assert await worker.to_worker() == Drain(alone=True)
        error = ModelNotFound("gone", hint="look elsewhere")
        worker.send(Ask(number=1, verb="load", name="iris", version=2))
        worker.send(Did(number=2, error=error.as_dict()))
        assert await supervisor.from_worker() == Ask(number=1, verb="load", name="iris", version=2)
        done = await supervisor.from_worker()
        assert isinstance(done, Did)
        assert done.error is not None
        assert (type(from_dict(done.error)), from_dict(done.error).hint) == (ModelNotFound, "look elsewhere")
        worker.close()
        assert await supervisor.from_worker() is None
        supervisor.send(Drain(alone=False))  # nobody is there, and nothing is raised
        supervisor.close()

    asyncio.run(main())
