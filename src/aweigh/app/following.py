"""Which versions a server serves of the names it was given, at its start and as the store changes. Joins the store, the policy and what loads."""

import time
from collections.abc import Callable, Mapping, Sequence

from aweigh.app.models import meaning
from aweigh.app.repository import StoreRepository
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.core.version_policy import Selection, parse_version_policy
from aweigh.engine.follower import Followed, Follower, Hands
from aweigh.serve.workers.changes import Changes
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.messages import Version


def what_is_followed(settings: Settings, words: Sequence[str], handles: Sequence[PackageHandle]) -> dict[str, Followed]:
    """What is to be served of each name: a bare name follows version_policy, `name@alias` its alias, `name:2` and a file stay what they are."""
    policy = parse_version_policy(settings.version_policy)
    found: dict[str, Followed] = {}
    for word, handle in zip(words, handles, strict=True):
        reference, name = meaning(word).reference, handle.reference.name
        if name in found:  # named several times: exactly these
            numbers = tuple(each.reference.version or 1 for each in handles if each.reference.name == name)
            found[name] = Followed(selection=Selection(kind="specific", numbers=numbers), live="")
        elif reference is None or reference.version is not None:
            found[name] = Followed(selection=Selection(kind="specific", numbers=(handle.reference.version or 1,)), live="")
        else:
            found[name] = Followed(selection=policy.of(name), live=reference.alias or settings.live_alias)
    return found


def versions_to_serve(settings: Settings, handles: Sequence[PackageHandle], followed: Mapping[str, Followed]) -> list[PackageHandle]:
    """The packages to begin with: those that were named, and the other versions that are followed of their names, what a bare name means last."""
    repository = StoreRepository(settings)
    stored = repository.catalogue()
    named = {(handle.reference.name, handle.reference.version): handle for handle in handles}
    chosen: list[PackageHandle] = []
    for name in dict.fromkeys(handle.reference.name for handle in handles):
        own = [handle for handle in handles if handle.reference.name == name]
        numbers = followed[name].of(stored[name]) if len(own) == 1 and name in stored else ()
        chosen += [named.get((name, number)) or repository.open(name, number) for number in numbers] or own
    return chosen


class WorkersHands:
    """The hands of a follower in the supervisor of several workers: all of them do it, or none."""

    def __init__(self, changes: Changes, desired: Desired) -> None:
        self._changes = changes
        self._desired = desired

    def served(self, name: str) -> list[int] | None:
        return None if self._changes.busy or self._changes.rolled(name) else self._desired.versions(name)

    async def load(self, name: str, number: int, *, default: bool, first: bool, wanted: Callable[[], bool]) -> None:
        await self._changes.join(Version(name=name, number=number), default=default, first=first, wanted=wanted)

    async def unload(self, name: str, number: int) -> None:
        await self._changes.drop(Version(name=name, number=number))

    async def prefer(self, name: str, number: int) -> None:
        await self._changes.prefer(Version(name=name, number=number))

    async def relabel(self) -> None:
        await self._changes.relabel()


def make_follower(settings: Settings, hands: Hands, followed: Mapping[str, Followed]) -> Follower:
    """What keeps a server at what its store says, by these hands."""
    policy = parse_version_policy(settings.version_policy)
    repository = StoreRepository(settings)

    def by_policy(name: str) -> Followed:
        """Of a name whose newest version a client has had loaded: it is not the live one that counts any more."""
        return Followed(selection=policy.of(name), live="")

    return Follower(settings, repository.catalogue, hands, followed, by_policy=by_policy, clock=time.monotonic)
