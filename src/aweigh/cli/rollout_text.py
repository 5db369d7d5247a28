"""A rollout as a person reads it: both versions' figures, what a shadow found, the worst rows, and how it ended. Text alone, for `promote` and `rollouts`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest

from aweigh.core.rollout import Bounds, Compared, Offence, Plan, Report, Version, difference_text, trial_of

_MAX_INPUTS = 400
_MAX_VALUE = 60
ENDINGS = {"promoted": "promoted", "rolled back": "rolled back", "refused": "refused"}


def lines_of(report: Report, *, now: datetime | None = None) -> list[str]:
    """All that is known of a rollout, a screen at most."""
    plan = report.plan
    if report.stable == plan.candidate and not report.open:
        return [f"{plan.name}: version {plan.candidate} is live already: nothing was changed"]
    beside = f", beside version {report.stable}" if report.stable and report.stable != plan.candidate else ""
    lines = [f"{plan.name}: version {plan.candidate}{beside}: {report.state} {_span(report, now)}{f': {report.why}' if report.why else ''}"]
    if plan.canary or plan.shadow:
        lines += [f"  {trial_of(plan)}", f"  {bounds_text(plan)}"]
    if report.versions:
        lines += ["", *_sides(report.versions)]
    if report.compared is not None:
        lines += ["", *_comparison(report.compared)]
        for offence in report.compared.offences:
            lines += _offence(offence, report)
    if report.errors:
        lines += ["", "  last requests that the candidate failed:", *(f"    {error}" for error in report.errors)]
    return lines


def bounds_text(plan: Plan) -> str:
    """What would end it, and when it ends by itself."""
    bounds: Bounds = plan.bounds
    parts = [
        f"{_share(bounds.errors)} more errors" if bounds.errors is not None else "",
        f"{bounds.latency:g} times the p95" if bounds.latency is not None else "",
        f"a difference of {bounds.difference:g}" if plan.shadow and bounds.difference is not None else "",
        f"{_share(bounds.flips)} other labels" if plan.shadow and bounds.flips is not None else "",
    ]
    unit = "requests of its own" if plan.canary else "compared rows"
    until = f"promoted by itself after {plan.promote_after:,} {unit}" if plan.promote_after else "promoted by request"
    allowed = ", ".join(part for part in parts if part) or "anything"
    return f"allowed: {allowed}, judged from {bounds.requests:,} on; {until}"


def shown_row(report: Report, now: datetime | None = None) -> tuple[object, ...]:
    """One line of the list: columns as in COLUMNS."""
    plan, candidate = report.plan, report.versions[1] if len(report.versions) > 1 else None
    return (
        plan.name, plan.candidate, report.stable or "-", report.state, trial_of(plan) or "at once", candidate.requests if candidate else "-",
        candidate.failed if candidate else "-", report.began_at.replace("+00:00", "Z"), f"{_seconds(report, now):,} s", report.why,
    )  # fmt: skip


COLUMNS = ("model", "candidate", "stable", "state", "trial", "requests", "failed", "began", "took", "why")


def _span(report: Report, now: datetime | None) -> str:
    return f"for {_seconds(report, now):,} s" if report.open else f"after {_seconds(report, now):,} s"


def _seconds(report: Report, now: datetime | None) -> int:
    began, ended = _time(report.began_at), _time(report.ended_at) or now or datetime.now(UTC)
    return max(0, int((ended - began).total_seconds())) if began else 0


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _sides(versions: Sequence[Version]) -> list[str]:
    rows = [("", "requests", "failed", "p50", "p95")]
    for role, version in zip(("stable", "candidate"), versions, strict=False):
        figures = (f"{version.requests:,}", f"{version.failed:,}", f"{version.p50_ms:.3g} ms", f"{version.p95_ms:.3g} ms")
        rows.append((f"version {version.number} ({role})", *figures))
    return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return ["  " + "  ".join(cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]  # fmt: skip


def _comparison(compared: Compared) -> list[str]:
    from aweigh.engine.judge import PERCENTILE, percentile_s

    rows = compared.rows
    if not rows and not compared.failed:
        return ["  compared: no call yet"]
    largest, mean = difference_text(compared.max_abs), difference_text(compared.mean_abs)
    flips = f"{compared.flips:,} with another label ({_share(compared.flips / max(1, rows))})"
    lines = [f"  compared: {compared.calls:,} calls, {rows:,} rows: {flips}; largest difference {largest}, mean {mean}"]
    if compared.failed or compared.skipped:
        lines.append(
            f"  the candidate failed {compared.failed:,} of these calls; {compared.skipped:,} were not repeated, since it was behind"
        )
    mine, theirs = (percentile_s(each, PERCENTILE) * 1000 for each in (compared.candidate_s, compared.stable_s))
    if compared.calls:
        lines.append(f"  the same calls took the candidate {mine:.3g} ms (p95), the stable version {theirs:.3g} ms")
    return lines


def _offence(offence: Offence, report: Report) -> list[str]:
    what = "failed" if offence.failed else "another label" if offence.flipped else f"differs by {difference_text(offence.max_abs)}"
    return [
        f"    {what}: {_cut(offence.inputs, _MAX_INPUTS)}",
        f"      version {report.stable} (stable): {_values(offence.stable)}",
        f"      version {report.plan.candidate} (candidate): {_values(offence.candidate)}",
    ]


def _values(answers: dict[str, str]) -> str:
    return ", ".join(f"{name} {_cut(value, _MAX_VALUE)}" for name, value in answers.items())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _share(share: float) -> str:
    return f"{share * 100:.3g}%"
