"""Whether a candidate is still good enough: its counts since the rollout began, beside those of the stable version, against the plan's bounds. Pure."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from aweigh.core.errors import Kind
from aweigh.core.rollout import Bounds, Compared, Counted, Plan, Seen, Version, difference_text
from aweigh.engine.choice import NOT_THE_CALLERS
from aweigh.engine.statistics import BOUNDS_S, ModelStatistics

PERCENTILE: Final = 0.95
_SURE: Final = 4.0
"""Standard deviations by which more calls than ever by chance must be slow."""
_LEAST_SLOWER_S: Final = 0.0005
"""A candidate that is slower by less than this is not slow: below it, the machine's noise decides."""
_MAX_LOST: Final = 3
"""A worker may end for other reasons. So many may not: a candidate that ends them leaves no count of its failures."""


def counted(done: ModelStatistics) -> Counted:
    """A version's statistics as far as a judge reads them."""
    failed = sum(count for kind, count in done.failed.items() if kind in NOT_THE_CALLERS and kind is not Kind.OVERLOADED)
    return Counted(answered=done.succeeded, failed=failed, durations=tuple(int(count) for count in done.duration.counts))


def since(now: Counted, before: Counted) -> Counted:
    """What was done in between."""
    durations = tuple(max(0, count - then) for count, then in zip_longest(now.durations, before.durations, fillvalue=0))
    return Counted(answered=max(0, now.answered - before.answered), failed=max(0, now.failed - before.failed), durations=durations)


def percentile_s(durations: Sequence[int], share: float) -> float:
    """Read off a histogram, evenly spread within its bucket; 0 where nothing was counted."""
    wanted, seen, begin = share * sum(durations), 0, 0.0
    for end, count in zip((*BOUNDS_S, 2 * BOUNDS_S[-1]), durations, strict=False):
        if count and seen + count >= wanted:
            return begin + (end - begin) * (wanted - seen) / count
        seen += count
        begin = end
    return 0.0


def share_above(durations: Sequence[int], seconds: float) -> float:
    """The share of what a histogram counted that took longer, evenly spread within each bucket."""
    above, begin = 0.0, 0.0
    for end, count in zip((*BOUNDS_S, 2 * BOUNDS_S[-1]), durations, strict=False):
        above += count * min(1.0, max(0.0, (end - seconds) / (end - begin)))
        begin = end
    return above / sum(durations) if above else 0.0


def version_of(number: int, done: Counted) -> Version:
    """A side of the rollout for a report."""
    p50, p95 = (round(percentile_s(done.durations, share) * 1000, 3) for share in (0.5, PERCENTILE))
    return Version(number=number, requests=done.answered + done.failed, failed=done.failed, p50_ms=p50, p95_ms=p95)


def fault_of(seen: Seen, plan: Plan) -> str:
    """Why the candidate must be rolled back, or nothing. `seen` counts from the rollout's beginning."""
    bounds, compared = plan.bounds, seen.compared
    if seen.lost >= _MAX_LOST:
        return f"{seen.lost} workers ended within minutes while it was tried; the server's log says how"
    if fault := _different(compared, bounds):
        return fault
    asked = seen.candidate.answered + seen.failed
    if asked >= bounds.requests:
        if fault := _failing(seen, bounds):
            return fault
        if fault := _slow(seen.candidate.durations, seen.stable.durations, bounds):
            return fault
    elif asked and (fault := _hopeless(seen, bounds)):
        return fault
    if compared.calls + compared.failed >= bounds.requests:
        if fault := _failing_copies(compared, bounds):
            return fault
        return _slow(compared.candidate_s, compared.stable_s, bounds)
    return ""


def done_of(seen: Seen, plan: Plan) -> bool:
    """Whether enough was seen to promote by itself."""
    tried = seen.candidate.answered if plan.canary else seen.compared.rows
    return bool(plan.promote_after) and tried >= max(plan.promote_after, plan.bounds.requests if plan.canary else 1)


def _hopeless(seen: Seen, bounds: Bounds) -> str:
    """Before there are enough requests to judge: so many failures that no answers of the rest could mend it."""
    if bounds.errors is None or seen.failed / bounds.requests - _share(seen.stable.answered, seen.stable.failed) <= bounds.errors:
        return ""
    requests = seen.candidate.answered + seen.failed
    return f"it failed {seen.failed} of its first {requests} requests; allowed are {bounds.errors:.2%} of {bounds.requests}"


def _failing(seen: Seen, bounds: Bounds) -> str:
    mine, theirs = _share(seen.candidate.answered, seen.failed), _share(seen.stable.answered, seen.stable.failed)
    if bounds.errors is None or mine - theirs <= bounds.errors:
        return ""
    requests = seen.candidate.answered + seen.failed
    return f"it failed {mine:.2%} of {requests} requests, the stable version {theirs:.2%}; allowed are {bounds.errors:.2%} more"


def _failing_copies(compared: Compared, bounds: Bounds) -> str:
    calls = compared.calls + compared.failed
    if bounds.errors is None or compared.failed / calls <= bounds.errors:
        return ""
    return f"it failed {compared.failed} of {calls} calls that the stable version answered; allowed are {bounds.errors:.2%}"


def _slow(mine_s: Sequence[int], theirs_s: Sequence[int], bounds: Bounds) -> str:
    mine, theirs = percentile_s(mine_s, PERCENTILE), percentile_s(theirs_s, PERCENTILE)
    if bounds.latency is None or not theirs or mine - theirs <= _LEAST_SLOWER_S or mine <= bounds.latency * theirs:
        return ""
    expected, calls = 1 - PERCENTILE, sum(mine_s)
    if share_above(mine_s, bounds.latency * theirs) <= expected + _SURE * (expected * (1 - expected) / calls) ** 0.5:
        return ""  # a hiccup of the machine could have done it
    return f"its p95 is {mine * 1e3:.3g} ms, the stable version's {theirs * 1e3:.3g} ms; allowed is {bounds.latency:g} times as much"


def _different(compared: Compared, bounds: Bounds) -> str:
    if bounds.difference is not None and compared.max_abs > bounds.difference:
        return f"an answer differs by {difference_text(compared.max_abs)}; allowed is {bounds.difference:g}"
    if bounds.flips is not None and compared.rows >= bounds.requests and compared.flips / compared.rows > bounds.flips:
        return f"{compared.flips} of {compared.rows} rows got another label; allowed are {bounds.flips:.2%}"
    return ""


def _share(answered: int, failed: int) -> float:
    return failed / (answered + failed) if answered + failed else 0.0
