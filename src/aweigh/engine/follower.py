"""Keeps a server at the versions that its store says: looks at the store now and then, and takes the steps that `versions` names.

Run by `app` beside the event loop's other work, in the one process of a server or in its supervisor; `Hands` are what differs between them.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from aweigh.core.errors import AweighError, InternalError
from aweigh.core.settings import Settings
from aweigh.core.version_policy import Selection
from aweigh.engine.versions import State, Step, Versions

_LOG: Final = logging.getLogger("aweigh.server")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """What the store has of a name."""

    numbers: tuple[int, ...] = ()
    aliases: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What is to be served of a name: the selection, and the alias that says what its bare name means."""

    selection: Selection
    live: str

    def of(self, shelved: Shelved) -> tuple[int, ...]:
        """The versions, what the bare name means last."""
        return self.selection.of(shelved.numbers, shelved.aliases.get(self.live))


class Hands(Protocol):
    """What takes the steps: all processes of the server do, or none."""

    def served(self, name: str) -> list[int] | None:
        """The versions that are served of a name, loaded or not; None while somebody else is changing them."""
        ...

    async def load(self, name: str, number: int, *, default: bool, first: bool, wanted: Callable[[], bool]) -> None:
        """Serve a version beside the others; with `first`, what the bare name means makes way before. Raises what loading raises.

        `wanted` is asked once it is loaded, just before it would answer: where it is not any more, it is let go of instead, or Conflict is raised.
        """
        ...

    async def unload(self, name: str, number: int) -> None:
        """Serve a version no more."""
        ...

    async def prefer(self, name: str, number: int) -> None:
        """Let the bare name mean this version."""
        ...

    async def relabel(self) -> None:
        """Take over the labels that the store has now."""
        ...


class Decided(Protocol):
    """What keeps the server at what its store says learns that a client has decided otherwise."""

    def __call__(self, name: str, version: int | None, *, loaded: bool) -> None: ...


class Follower:
    """`catalogue` reads the store, on a thread. Names that are not `followed` stay as they are."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Callable[[], Mapping[str, Shelved]],
        hands: Hands,
        followed: Mapping[str, Followed],
        *,
        by_policy: Callable[[str], Followed],
        clock: Callable[[], float],
    ) -> None:
        self._resource = settings.version_transition == "resource"
        self._poll_s = settings.poll_store_s
        self._catalogue = catalogue
        self._hands = hands
        self._followed = dict(followed)
        self._by_policy = by_policy
        self._versions = Versions(settings.version_transition, clock, tries=settings.load_tries, pause_s=settings.load_retry_s)
        self._wanted: dict[str, tuple[int, ...]] = {}
        self._made_way: dict[str, int] = {}
        """Versions that left memory for their successors, and go for good when these are ready."""
        self._aliases: dict[str, Mapping[str, int]] | None = None
        self._changing = asyncio.Lock()

    def decided(self, name: str, version: int | None, *, loaded: bool) -> None:
        """A client had a name loaded or unloaded, and that holds: it is kept at what the store says where the newest was loaded, else no more."""
        if loaded and version is None:
            self._followed[name] = self._by_policy(name)
            return
        self._followed.pop(name, None)
        self._made_way.pop(name, None)
        for known in self._versions.of(name):
            self._versions.drop(name, known.number)

    async def run(self) -> None:
        """For ever, where the store is to be looked at. Whatever goes wrong in one look, there is a next one."""
        said = ""
        while self._poll_s:
            due_s = self._versions.due_in_s()
            await asyncio.sleep(self._poll_s if due_s is None else min(self._poll_s, max(0.01, due_s)))
            trouble = ""
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  # the follower's boundary: a server would follow no name any more, and nobody would hear of it
                trouble = f"{type(error).__name__}: {error}"
                if trouble != said:
                    _LOG.exception("the store cannot be followed: what is served stays as it is until the next look")
            said = trouble

    async def look(self) -> None:
        """Read the store, and do what is to be done. A store that cannot be read changes nothing."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, self._catalogue)
        except AweighError as error:
            _LOG.warning("the store cannot be looked at: what is served stays as it is", extra={"error": error.message, "hint": error.hint})
            return
        async with self._changing:
            for name in list(self._followed):
                await self._follow(name, found.get(name, Shelved()))
            aliases = {name: found[name].aliases for name in self._followed if name in found}
            if aliases != self._aliases:
                self._aliases = aliases
                await self._hands.relabel()

    async def _follow(self, name: str, shelved: Shelved) -> None:
        served = self._hands.served(name)
        if name not in self._followed or served is None:
            return
        self._versions.found(name, served)
        self._wanted[name] = self._followed[name].of(shelved)
        self._versions.aspire(name, self._wanted[name])
        while (step := self._versions.next(name)) is not None:
            if step.verb == "load":
                await self._load(step)
            else:
                await self._unload(step)
            if name not in self._followed or self._hands.served(name) is None:
                return  # somebody else changes it now
        await self._prefer(name)

    async def _load(self, step: Step) -> None:
        name, number = step.name, step.number
        wanted = partial(self._versions.loading, name, number)
        try:
            await self._hands.load(name, number, default=number == self._wanted[name][-1], first=name in self._made_way, wanted=wanted)
        except AweighError as error:
            if wanted():
                self._failed(step, error)
            return
        except Exception as error:
            self._failed(step, InternalError(f"{type(error).__name__}: {error}"))
            raise
        if not wanted():
            return  # a client has unloaded it meanwhile
        self._versions.loaded(name, number)
        before = self._made_way.pop(name, None)
        if before is not None and before != number:
            await self._hands.unload(name, before)

    def _failed(self, step: Step, error: AweighError) -> None:
        self._versions.failed(step.name, step.number, error)
        told = {"model": step.name, "version": step.number, "code": error.code, "error": error.message, "hint": error.hint}
        _LOG.warning("a version in the store cannot be served: what is served stays", extra=told)

    async def _unload(self, step: Step) -> None:
        """Where a successor is to take its place in memory, it makes way when that is loaded, and can come back if that fails."""
        name, number = step.name, step.number
        others = any(known.state is State.READY for known in self._versions.of(name))
        if self._resource and not others and self._wanted[name]:
            self._made_way[name] = number
        else:
            await self._hands.unload(name, number)
        self._versions.ended(name, number)

    async def _prefer(self, name: str) -> None:
        ready = {known.number for known in self._versions.of(name) if known.state is State.READY}
        wanted = [number for number in self._wanted.get(name, ()) if number in ready]
        if wanted:
            await self._hands.prefer(name, wanted[-1])
