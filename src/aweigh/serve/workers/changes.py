"""Loading and unloading for all workers at once: each prepares, and only when every one may answer does any of them move; else all stay as they are.

Used by the supervisor. A worker that dies meanwhile is not waited for: its successor begins with what is desired then.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from aweigh.core.errors import AweighError, Conflict, InternalError, ModelNotFound, NotReady
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.messages import Abort, Commit, Did, Prepare, Remove, Version
from aweigh.serve.workers.seat import Member

_LOG: Final = logging.getLogger("aweigh.supervisor")


class Changes:
    """One at a time. `newest` tells the version that a bare name means; it blocks, so it runs on a thread."""

    def __init__(
        self, desired: Desired, ready: Callable[[], list[Member]], newest: Callable[[str], int], converge: Callable[[], None]
    ) -> None:
        self._desired = desired
        self._ready = ready
        self._newest = newest
        self._converge = converge
        self._numbers = itertools.count(1)
        self._loading = ""

    async def load(self, name: str, version: int | None) -> None:
        """Serve a version. Raises Conflict while another is loaded, and what loading raised in the first worker that failed."""
        if self._loading:
            raise Conflict(f"model '{self._loading}' is being loaded", hint="one load at a time: try again when it is done")
        self._loading = name
        try:
            number = version if version is not None else await asyncio.get_running_loop().run_in_executor(None, self._newest, name)
            await self._move(Version(name=name, number=number))
        finally:
            self._loading = ""

    async def unload(self, name: str) -> None:
        """Serve no version of a name. Raises ModelNotFound."""
        if not self._desired.remove(name):
            raise ModelNotFound(f"failed to unload '{name}', no version is available", hint="the repository index lists what is loaded")
        number = next(self._numbers)
        await asyncio.gather(*[member.tell(Remove(number=number, name=name)) for member in self._settled(self._ready())])
        self._converge()

    async def _move(self, model: Version) -> None:
        members = self._ready()
        if not members:
            raise NotReady("no worker is ready to load a model", hint="try again in a moment")
        number = next(self._numbers)
        prepared = await asyncio.gather(*[member.tell(Prepare(number=number, model=model)) for member in members])
        failed = next((done.error for done in prepared if done.error is not None), None)
        still = [member for member in members if member.ready]
        number_then = next(self._numbers)
        if failed is not None:
            _LOG.warning("no worker moves: one of them cannot load the model", extra={"model": model.name, "version": model.number})
            await asyncio.gather(*[member.tell(Abort(number=number_then)) for member in still])
            raise _error(failed)
        self._desired.take_over(model)
        done = await asyncio.gather(*[member.tell(Commit(number=number_then)) for member in still])
        self._settled(still, done)
        self._converge()
        _LOG.info("model ready in all workers", extra={"model": model.name, "version": model.number, "workers": len(still)})

    def _settled(self, members: list[Member], done: Sequence[Did] = ()) -> list[Member]:
        """These have followed, or are about to: they are at the desired generation."""
        for member in members:
            member.generation = self._desired.generation
        for each in done:
            if each.error is not None:
                raise _error(each.error)
        return members


def _error(said: dict[str, Any]) -> AweighError:
    from aweigh.core.errors import from_dict

    return from_dict(said) if said else InternalError("a worker failed and did not say why")
