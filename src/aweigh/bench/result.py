"""What a load test found: the figures of one run, whether they can be believed, and the report of several. Also the form of `--json`."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from aweigh.bench.histogram import RELATIVE_ERROR, Histogram
from aweigh.bench.plan import TIMELINE_PARTS, Load
from aweigh.bench.recorder import SLOWEST_KEPT, Slow, Tally
from aweigh.core.objective import Objective

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
_LATE_SHARE: Final = 0.5
_LATE_S: Final = 0.001
_BUSY: Final = 0.9
_KEPT_UP: Final = 0.95
_SUPPORT: Final = 5
_CURVE: Final = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.999, 100.0)
"""Where the plot of latency by percentile has its points."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the measured time; None where nothing was answered and nothing timed out."""

    at_s: float
    answered: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in milliseconds; None where there are none."""

    count: int
    mean_ms: float | None
    min_ms: float | None
    max_ms: float | None
    percentiles_ms: dict[str, float | None]
    """Such as "p99"."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One run at one load."""

    load: Load
    scheduled: int
    """Requests that fell due (closed loop: were sent) in the measured time."""
    answered_per_s: float
    """Right answers that came in the measured time, per second of it."""
    latency: Distribution
    """Open loop: from when a request was due. Closed loop: from when it was sent."""
    service: Distribution
    """From when a request was really sent: what a closed-loop tool would have shown."""
    corrected: Distribution | None
    """Closed loop, if asked for: with the requests that the users' waiting left out."""
    generator_late: Distribution
    """How late the generator turned to what was due."""
    generator_cpu: float
    """Of one core, busiest process."""
    errors: dict[str, int]
    details: dict[str, str]
    error_share: float
    queued: int
    outstanding: int
    connections: int
    reconnects: int
    bytes_out: int
    bytes_in: int
    slowest: tuple[Slow, ...]
    timeline: tuple[Part, ...]
    curve_ms: tuple[tuple[float, float], ...]
    """Percentile and latency."""
    server_cpu: float | None
    """Cores that the server's processes used, where they could be watched."""
    kept_up: bool
    """Whether the server answered as many as fell due, errors among them; one that ran into the timeout was not answered."""
    valid: bool
    """False where the figures say more of the generator than of the server."""
    problems: tuple[str, ...]
    """Why not, or what to keep in mind."""
    histogram: Histogram | None = None
    """For objectives and plots; not in the JSON."""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def share_within(self, limit_s: float) -> float:
        """The share of all requests that were answered rightly within the limit; a failed request is a miss."""
        late = sum(self.errors.get(kind, 0) for kind in TIMEOUTS)
        if self.histogram is None or not self.scheduled:
            return 0.0
        answered = len(self.histogram) - late
        within = self.histogram.share_within(limit_s) * len(self.histogram) if len(self.histogram) else 0.0
        return min(within, answered) / self.scheduled

    def percentile_s(self, percent: float) -> float:
        """The time within which that share of all requests was answered rightly; infinite where more failed than it leaves room for."""
        if self.histogram is None:
            return math.nan
        late = sum(self.errors.get(kind, 0) for kind in TIMEOUTS)
        if self.failed and percent > 100 * (1 - self.failed / max(1, self.scheduled)):
            return math.inf
        return self.histogram.percentile(percent, unanswered=self.failed - late)

    def holds(self, objective: Objective) -> bool:
        """Whether that share of all requests was answered rightly within the limit."""
        return bool(self.scheduled) and self.percentile_s(objective.percentile) <= objective.limit_s


TIMEOUTS: Final = ("timeout", "timeout before it was sent")
"""The errors whose waiting time is in the histogram."""


def measured(load: Load, tallies: Sequence[Tally], *, corrected: bool, server_cpu: float | None) -> Measurement:
    """Add up what the processes found, and judge whether it can be believed."""
    latency, service, late = (_merged([getattr(tally, name) for tally in tallies]) for name in ("latency", "service", "lateness"))
    scheduled, answered = sum(tally.scheduled for tally in tallies), sum(tally.answered_in_time for tally in tallies)
    errors = _added(tallies)
    cpu = max(tally.cpu_s for tally in tallies) / load.duration_s
    rate = answered / load.duration_s
    in_time = answered + sum(count for kind, count in errors.items() if kind not in TIMEOUTS)
    kept_up = not load.is_open or in_time >= _KEPT_UP * scheduled
    made = Measurement(
        load=load,
        scheduled=scheduled,
        answered_per_s=rate,
        latency=distribution(latency),
        service=distribution(service),
        corrected=distribution(latency.corrected(load.concurrency / rate)) if corrected and not load.is_open and rate else None,
        generator_late=distribution(late),
        generator_cpu=cpu,
        errors=errors,
        details={kind: detail for tally in tallies for kind, detail in tally.details.items()},
        error_share=sum(errors.values()) / scheduled if scheduled else 0.0,
        queued=sum(tally.queued for tally in tallies),
        outstanding=sum(tally.outstanding for tally in tallies),
        connections=sum(tally.peak_connections for tally in tallies),
        reconnects=sum(tally.reconnects for tally in tallies),
        bytes_out=sum(tally.bytes_out for tally in tallies),
        bytes_in=sum(tally.bytes_in for tally in tallies),
        slowest=tuple(sorted((slow for tally in tallies for slow in tally.slowest), reverse=True)[:SLOWEST_KEPT]),
        timeline=_timeline(load, tallies),
        curve_ms=tuple((percent, latency.percentile(percent) * 1000) for percent in _CURVE) if len(latency) else (),
        server_cpu=server_cpu,
        kept_up=kept_up,
        valid=True,
        problems=(),
        histogram=latency,
    )
    faults, notes = _faults(made, latency, late), _notes(made)
    return msgspec.structs.replace(made, valid=not faults, problems=(*faults, *notes))


def _added(tallies: Sequence[Tally]) -> dict[str, int]:
    """Errors of all processes, the most frequent first."""
    errors: dict[str, int] = {}
    for tally in tallies:
        for kind, count in tally.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


def distribution(histogram: Histogram) -> Distribution:
    """The figures that people read."""
    filled = len(histogram) > 0
    return Distribution(
        count=len(histogram),
        mean_ms=_ms(histogram.mean_s) if filled else None,
        min_ms=_ms(histogram.lowest_s) if filled else None,
        max_ms=_ms(histogram.highest_s) if filled else None,
        percentiles_ms={f"p{percent:g}": _ms(histogram.percentile(percent)) if filled else None for percent in PERCENTILES},
    )


def document(measurement: Measurement) -> dict[str, object]:
    """The JSON form: everything but the histogram, which its curve stands for."""
    made: dict[str, object] = msgspec.to_builtins(msgspec.structs.replace(measurement, histogram=None))
    del made["histogram"]
    return {**made, "histogram_relative_error": RELATIVE_ERROR}


def _merged(packed: Sequence[object]) -> Histogram:
    total = Histogram()
    for part in packed:
        total.merge(Histogram.unpack(part))  # type: ignore[arg-type]  # a Tally's fields of type Packed, by name
    return total


def _timeline(load: Load, tallies: Sequence[Tally]) -> tuple[Part, ...]:
    parts = []
    for at in range(TIMELINE_PARTS):
        histogram = _merged([tally.timeline[at] for tally in tallies])
        filled = len(histogram) > 0
        parts.append(
            Part(
                at_s=round(at * load.duration_s / TIMELINE_PARTS, 6),
                answered=len(histogram) - sum(tally.timeline_timeouts[at] for tally in tallies),
                errors=sum(tally.timeline_errors[at] for tally in tallies),
                p50_ms=_ms(histogram.percentile(50)) if filled else None,
                p99_ms=_ms(histogram.percentile(99)) if filled else None,
                max_ms=_ms(histogram.highest_s) if filled else None,
            )
        )
    return tuple(parts)


def _faults(made: Measurement, latency: Histogram, late: Histogram) -> list[str]:
    """What makes the figures the generator's own rather than the server's."""
    faults = []
    if not made.scheduled:
        faults.append("nothing fell due in the measured time: measure longer, or at a higher rate")
    elif made.load.is_open and len(late) and len(latency):
        p99, late_p99 = latency.percentile(99), late.percentile(99)
        if late_p99 > max(_LATE_S, _LATE_SHARE * p99):
            faults.append(
                f"the generator was late: p99 of its own lateness is {_text(late_p99)}, of a latency p99 of {_text(p99)}; "
                "its machine was busy or the rate too high for it: another machine, a lower rate or more --processes help"
            )
    if made.generator_cpu > _BUSY:
        faults.append(
            f"the generator used {made.generator_cpu:.0%} of a core: it, not the server, may be what was measured; "
            "give more --processes, or another machine"
        )
    return faults


def _notes(made: Measurement) -> list[str]:
    """What to keep in mind of figures that can be believed."""
    notes = []
    if not made.kept_up:
        notes.append(
            f"the server did not keep up: {made.scheduled / made.load.duration_s:,.0f} requests/s fell due, {made.answered_per_s:,.0f} were answered, "
            f"{made.outstanding:,} were waiting at the end; its latency would go on growing with --duration"
        )
    if made.queued and made.kept_up:
        notes.append(
            f"{made.queued:,} requests waited for one of {made.connections} connections (counted in their latency); see --connections"
        )
    support = made.latency.count * 0.001
    if made.latency.count and support < _SUPPORT:
        weakest = next(
            percent for percent in reversed(PERCENTILES) if made.latency.count * (100 - percent) / 100 >= _SUPPORT or percent == 50
        )
        notes.append(f"{made.latency.count:,} answers are few: percentiles above p{weakest:g} rest on less than {_SUPPORT} of them")
    if made.reconnects:
        notes.append(f"{made.reconnects:,} connections were lost and opened again")
    return notes


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 6)


def _text(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
