"""A rollout: one name's move from the version that serves to another, what is risked meanwhile, what would end it, and how it went. Data only."""

import sys
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from aweigh.core.errors import InvalidInput

State = Literal["loading", "running", "promoted", "rolled back", "refused"]
MAX_ENDED: Final = 20
"""Ends that a record keeps."""
MAX_OFFENCES: Final = 5
"""Inputs that a report shows."""
ENDLESS: Final = sys.float_info.max
"""Stands for an infinite difference, such as one of a number from none: reports are kept and told in JSON, which has no infinity."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the candidate may do worse than the stable version before it is rolled back. A bound of None is not watched."""

    requests: int = 100
    """Requests of the candidate, or compared rows, before shares and percentiles are judged: one bad moment decides nothing."""
    errors: float | None = 0.01
    """Share of its requests that the candidate fails and the stable version does not, above the stable version's own share of failures."""
    latency: float | None = 2.0
    """Ratio of the 95th percentiles of the time from request to outputs."""
    difference: float | None = None
    """Of a shadow: largest absolute difference of any number in the answers. Judged from the first comparison on."""
    flips: float | None = 0.05
    """Of a shadow: share of rows that get another label."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How version `candidate` is tried beside the stable version of `name`. Without canary and shadow it takes over at once."""

    name: str
    candidate: int = 0
    """0 is the newest when the rollout begins."""
    canary: float = 0.0
    """Share of requests that the candidate answers, 0 to 1."""
    shadow: float = 0.0
    """Share of calls that are repeated with the candidate, its answers being compared and thrown away."""
    sticky: str = ""
    """Header whose value decides: one client stays with one version. Clients that send none are dealt out one by one."""
    promote_after: int = 0
    """Promote by itself after so many requests of the candidate (compared rows, without a canary) within the bounds; 0 waits for a person."""
    bounds: Bounds = Bounds()


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What a version has done: answers, failures that were not the caller's, and its answers by time, in the buckets of the metrics."""

    answered: int = 0
    failed: int = 0
    durations: tuple[int, ...] = ()


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a rollout since it began, as a person reads it."""

    number: int
    requests: int = 0
    failed: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0


class Offence(msgspec.Struct, frozen=True, kw_only=True):
    """A row on which the candidate answered otherwise or failed, and both answers, shortened; worst first in a report."""

    inputs: str
    stable: dict[str, str]
    candidate: dict[str, str]
    max_abs: float
    flipped: bool = False
    failed: bool = False
    """Whether the candidate failed it: its answer is the message, under `error`."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a shadow found. Differences are of numbers; `stable_s` and `candidate_s` count the same calls by time."""

    calls: int = 0
    rows: int = 0
    flips: int = 0
    """Rows with another label."""
    mismatches: int = 0
    """Elements beyond the tolerances of the proof."""
    numbers: int = 0
    max_abs: float = 0.0
    sum_abs: float = 0.0
    failed: int = 0
    """Calls that the candidate failed."""
    skipped: int = 0
    """Copies that were dropped because the candidate was behind."""
    stable_s: tuple[int, ...] = ()
    candidate_s: tuple[int, ...] = ()
    offences: tuple[Offence, ...] = ()

    @property
    def mean_abs(self) -> float:
        return self.sum_abs / self.numbers if self.numbers else 0.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Both versions and the comparison at one moment, as the judge reads them."""

    stable: Counted = Counted()
    candidate: Counted = Counted()
    compared: Compared = Compared()
    failed: int = 0
    """Requests of the canary that the candidate failed, but for those that the stable version refused as well: as malformed, or where both were overloaded.
    What the stable version failed otherwise is in its own count."""
    lost: int = 0
    """Workers that ended in the last minutes, other than by being told to."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as it stands, or as it ended."""

    plan: Plan
    stable: int
    """The version that answered when it began; 0 where there was none."""
    state: State
    began_at: str
    """UTC, ISO 8601."""
    ended_at: str = ""
    why: str = ""
    """Why it ended so."""
    versions: tuple[Version, ...] = ()
    """The stable version and the candidate."""
    compared: Compared | None = None
    """Of a shadow."""
    errors: tuple[str, ...] = ()
    """The last messages of requests that the candidate failed, with the requests' ids."""

    @property
    def open(self) -> bool:
        return self.state in ("loading", "running")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a name's rollouts: the one under way, if any, and those that ended, newest first."""

    current: Report | None = None
    ended: tuple[Report, ...] = ()

    def with_current(self, report: Report) -> "Record":
        """That one under way, or as it stands now."""
        return Record(current=report, ended=self.ended)

    def with_end(self, report: Report) -> "Record":
        """One more that has ended; nothing is under way any more."""
        return Record(ended=(report, *self.ended)[:MAX_ENDED])

    def before(self, live: int | None) -> int | None:
        """The version that was live before the one that is: what a rollback goes to."""
        promoted = (report for report in self.ended if report.state == "promoted" and report.plan.candidate == live)
        return next((report.stable for report in promoted if report.stable not in (0, live)), None)


def check_plan(plan: Plan) -> Plan:
    """The plan. Raises InvalidInput for shares that are none, and bounds that cannot be."""
    for what, share in (("canary", plan.canary), ("shadow", plan.shadow)):
        if not 0 <= share <= 1:
            raise InvalidInput(f"{what} is {share:g}: a share is between 0 and 1", hint=f"write {what} as 0.1 for 10%")
    if plan.candidate < 0:
        raise InvalidInput(f"version {plan.candidate} is none", hint="versions are numbered from 1; 0 is the newest")
    bounds = plan.bounds
    if bounds.requests < 1:
        raise InvalidInput(f"bounds.requests is {bounds.requests}: at least one request is needed to judge")
    for what, bound in (("errors", bounds.errors), ("latency", bounds.latency), ("difference", bounds.difference), ("flips", bounds.flips)):
        if bound is not None and not bound >= 0:
            raise InvalidInput(f"bounds.{what} is {bound:g}: expected 0 or more, or null for no bound")
    if plan.promote_after < 0:
        raise InvalidInput(f"promote_after is {plan.promote_after}: expected a number of requests, or 0 to wait for a person")
    if plan.promote_after and not (plan.canary or plan.shadow):
        raise InvalidInput("promote_after without canary or shadow: nothing is tried that could be waited for", hint="add canary or shadow")
    if not plan.sticky.isascii() or any(character in plan.sticky for character in " :\r\n\0"):
        raise InvalidInput(f"sticky is {plan.sticky!r}: that is no header's name", hint="such as x-user-id")
    return plan


def trial_of(plan: Plan) -> str:
    """How the candidate is tried, for a person: `10% of requests by the header x-user, shadow of 100% of calls`."""
    canary = f"{plan.canary * 100:.3g}% of requests{f' by the header {plan.sticky}' if plan.sticky else ''}" if plan.canary else ""
    shadow = f"shadow of {plan.shadow * 100:.3g}% of calls" if plan.shadow else ""
    return ", ".join(part for part in (canary, shadow) if part)


def difference_text(difference: float) -> str:
    """A difference of answers for a person."""
    return "infinity (no number, or another shape)" if difference >= ENDLESS else f"{difference:.3g}"


def now_text() -> str:
    """The time now, as reports tell it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def parse_share(text: str) -> float:
    """`10%` or `0.1`. Raises InvalidInput."""
    stripped = text.strip()
    try:
        share = float(stripped.removesuffix("%")) / (100 if stripped.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidInput(f"{text!r} is no share", hint="write it as 10% or 0.1")
    return share
