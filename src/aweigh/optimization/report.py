"""What an optimisation found: plain data, which the terminal, JSON, the page of HTML and the package itself keep."""

from typing import Literal

import msgspec

from aweigh.core.evidence import Machine
from aweigh.core.package import Variant
from aweigh.optimization.budget import Figure, Judged
from aweigh.optimization.timing import Timed

Outcome = Literal["own", "kept", "beaten", "slower", "outside", "failed", "refused", "unproven", "untried"]
"""One of the package's own, those among them that an earlier search kept and that stay; kept; within the budget and faster, but others are more so; not faster; outside the budget; did not come about, or answers otherwise
than it says; does not apply; made for a machine of another kind, and kept without evidence; no time was left."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candidate."""

    name: str
    passes: tuple[str, ...]
    """What was done, in order, with the way of each: 'int8-static (entropy)'."""
    base: str
    """The package's own variant that it came from."""
    outcome: Outcome
    why: str = ""
    notes: tuple[str, ...] = ()
    judged: tuple[Judged, ...] = ()
    """Each condition of the budget, on the rows that the search saw."""
    unseen: tuple[Judged, ...] = ()
    """The same on all rows, among them those that the search did not see."""
    figures: dict[str, Figure] = {}
    timed: Timed | None = None
    seconds: float = 0.0
    """How long it took to make, prove and measure."""
    variant: Variant | None = None
    files: dict[str, str] = {}
    """Package path -> file on disk, of the variant's own."""


class Optimization(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of it. `results` hold the package's own variants first, the baseline before all."""

    model: str
    digest: str
    keep: str
    goal: str
    data: str
    rows: int
    threads: int
    machine: Machine
    baseline: str
    metrics: dict[str, Figure]
    """Of the baseline, on all rows."""
    results: tuple[Result, ...]
    summary: tuple[str, ...] = ()
    seconds: float = 0.0
    published: str = ""
    """The version with what was kept; "" where nothing was."""

    @property
    def kept(self) -> tuple[Result, ...]:
        """Those that were."""
        return tuple(result for result in self.results if result.outcome == "kept")

    def slim(self) -> "Optimization":
        """Without what the package's manifest holds, and without places on this machine."""
        return msgspec.structs.replace(self, results=tuple(msgspec.structs.replace(each, variant=None, files={}) for each in self.results))
