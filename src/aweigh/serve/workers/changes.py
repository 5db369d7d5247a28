"""Loading and unloading for all workers at once: each prepares, and only when every one may answer does any of them move; else all stay as they are.

Used by the supervisor. A worker that dies meanwhile is not waited for: its successor begins with what is desired then.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from aweigh.core.errors import AweighError, ChildDied, Conflict, InternalError, ModelNotFound, NotReady
from aweigh.engine.follower import Decided
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.messages import Abort, Commit, Did, Prepare, Relabel, Remove, Version
from aweigh.serve.workers.seat import Member

_LOG: Final = logging.getLogger("aweigh.supervisor")


class Changes:
    """One at a time. `newest` tells the version that a bare name means; it blocks, so it runs on a thread."""

    def __init__(
        self,
        desired: Desired,
        ready: Callable[[], list[Member]],
        newest: Callable[[str], int],
        converge: Callable[[], None],
        *,
        first: bool = False,
    ) -> None:
        self._desired = desired
        self._ready = ready
        self._newest = newest
        self._converge = converge
        self._numbers = itertools.count(1)
        self._loading = ""
        self._first = first
        self._turn = asyncio.Lock()
        self.decided: Decided | None = None
        """Told what a client has had loaded or unloaded."""
        self._overruled = False
        """Whether what is loaded was unloaded meanwhile."""
        self.rolled: Callable[[str], bool] = lambda _: False
        """Whether a name is being rolled out, from the first step to the last: only the rollout changes what it serves."""

    async def load(self, name: str, version: int | None) -> None:
        """Serve a version. Raises Conflict while another is loaded, and what loading raised in the first worker that failed."""
        self._check_settled(name)
        if self._loading:
            raise Conflict(f"model '{self._loading}' is being loaded", hint="one load at a time: try again when it is done")
        self._loading, self._overruled = name, False
        try:
            number = version if version is not None else await asyncio.get_running_loop().run_in_executor(None, self._newest, name)
            async with self._turn:
                self._check_settled(name)
                await self._move(Version(name=name, number=number), first=self._first, wanted=lambda: not self._overruled)
            if self.decided is not None:
                self.decided(name, version, loaded=True)
        finally:
            self._loading = ""

    async def unload(self, name: str) -> None:
        """Serve no version of a name. Raises ModelNotFound."""
        self._check_settled(name)
        loading = self._loading == name and not self._overruled
        self._overruled = self._overruled or loading
        if not self._desired.remove(name) and not loading:
            raise ModelNotFound(f"failed to unload '{name}', no version is available", hint="the repository index lists what is loaded")
        if self.decided is not None:
            self.decided(name, None, loaded=False)
        number = next(self._numbers)
        await asyncio.gather(*[member.tell(Remove(number=number, name=name)) for member in self._settled(self._ready())])
        self._converge()

    async def join(self, model: Version, *, default: bool, first: bool, wanted: Callable[[], bool] = lambda: True) -> None:
        """Serve a version beside the others of its name; waits for its turn. Raises what loading raised in the first worker that failed.

        `wanted` is asked when all have loaded it: where it is not any more, none moves, and Conflict is raised.
        """
        async with self._turn:
            await self._move(model, first=first, beside=True, default=default, wanted=wanted)

    async def drop(self, model: Version) -> None:
        """Serve a version no more."""
        self._desired.drop(model)
        self._converge()

    async def prefer(self, model: Version) -> None:
        """Let the bare name mean a version that is served."""
        if model in self._desired.models and self._desired.versions(model.name)[-1] != model.number:
            self._desired.join(model, default=True)
            self._converge()

    async def relabel(self) -> None:
        """Let all workers take over the labels that the store has now."""
        for member in self._ready():
            member.link.send(Relabel())

    def _check_settled(self, name: str) -> None:
        if self.rolled(name):
            raise Conflict(f"model '{name}' is being rolled out", hint="promote it or roll it back first")

    @property
    def busy(self) -> bool:
        """Whether something is being changed."""
        return bool(self._loading) or self._turn.locked()

    async def _move(self, model: Version, *, first: bool, wanted: Callable[[], bool], beside: bool = False, default: bool = False) -> None:
        members = self._ready()
        if not members:
            raise NotReady("no worker is ready to load a model", hint="try again in a moment")
        number = next(self._numbers)
        prepared = await asyncio.gather(*[member.tell(Prepare(number=number, model=model, first=first)) for member in members])
        failed = next((done.error for done in prepared if done.error is not None), None)
        still = [member for member in members if member.ready]
        number_then = next(self._numbers)
        if failed is not None:
            _LOG.warning("no worker moves: one of them cannot load the model", extra={"model": model.name, "version": model.number})
            await asyncio.gather(*[member.tell(Abort(number=number_then)) for member in still])
            raise _error(failed)
        if not still:
            raise ChildDied(
                f"every worker ended while '{model.name}' version {model.number} was loaded: it is not served",
                hint="the log says how they ended; try it with 'aweigh serve --workers 1'",
            )
        if not wanted():
            await asyncio.gather(*[member.tell(Abort(number=number_then)) for member in still])
            raise Conflict(f"model '{model.name}' was unloaded while it was loaded", hint="load it again")
        if beside:
            self._desired.join(model, default=default)
        else:
            self._desired.take_over(model)
        done = await asyncio.gather(*[member.tell(Commit(number=number_then, beside=beside, default=default)) for member in still])
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
