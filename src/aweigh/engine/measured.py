"""Times of a package's variants on this machine, taken where their evidence is of another one: once, and kept in `home`. Called while loading; `show` reads what was kept.

A short measurement: each variant is loaded, answers its golden set, and is timed for a fraction of a second. It orders the variants and is no evidence.
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import AweighError
from aweigh.core.evidence import Machine
from aweigh.core.machine import alike, machine
from aweigh.core.names import Digest
from aweigh.core.package import Variant
from aweigh.core.settings import Settings
from aweigh.core.whole import whole

_SAID: Final = 300
Time = Callable[[Variant], Mapping[str, float]]
"""Loads a variant and gives its times, by the names that evidence has for them. Raises what loading it raises."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times by variant, in evidence's names and microseconds, and why others could not be timed."""

    machine: Machine
    figures: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}

    @property
    def names(self) -> set[str]:
        """The variants that were tried."""
        return {*self.figures, *self.refused}


def elsewhere(variants: Sequence[Variant]) -> bool:
    """Whether there is something to choose, by times that another machine took."""
    return len(variants) > 1 and any(each.evidence is not None and not alike(each.evidence.machine, machine()) for each in variants)


def measured_before(digest: Digest, variants: Sequence[Variant], settings: Settings) -> Measured | None:
    """What was kept of this package on this machine; None where something of it was never measured."""
    try:
        kept = msgspec.json.decode(_place(digest, settings).read_bytes(), type=Measured)
    except (OSError, msgspec.DecodeError):  # not there, or of another version
        return None
    return kept if alike(kept.machine, machine()) and {each.name for each in variants} <= kept.names else None


def measured_here(digest: Digest, variants: Sequence[Variant], settings: Settings, time: Time) -> Measured:
    """The times of every variant, measured now unless they were before. One process measures, others wait for what it finds."""
    with _in_turn(_place(digest, settings)) as place:
        kept = measured_before(digest, variants, settings)
        if kept is None:
            kept = _measure(variants, time)
            if place is not None:
                _keep(place, kept)
        return kept


def _measure(variants: Sequence[Variant], time: Time) -> Measured:
    figures: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    for each in variants:
        try:
            figures[each.name] = dict(time(each))
        except AweighError as error:
            refused[each.name] = error.message[:_SAID]
    return Measured(machine=machine(), figures=figures, refused=refused)


def _place(digest: Digest, settings: Settings) -> Path:
    return settings.home_folder / "cache" / "variants" / f"{digest.replace(':', '-')}.json"


@contextlib.contextmanager
def _in_turn(place: Path) -> Iterator[Path | None]:
    """The place to keep things at, alone; None where nothing can be kept, as on a file system that nobody may write."""
    with contextlib.ExitStack() as stack:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(place.with_suffix(".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            yield None
            return
        yield place


def _keep(place: Path, found: Measured) -> None:
    """Whole or not at all; a full disk costs the next load a measurement."""
    with contextlib.suppress(OSError), whole(place) as file:
        file.write(msgspec.json.encode(found))
