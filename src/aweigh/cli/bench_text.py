"""What `aweigh bench` prints for people: the figures, and beside them everything that keeps one from misreading them."""

from aweigh.bench.capacity import Capacity, Sizing
from aweigh.bench.drawings import drawing, load_text
from aweigh.bench.report import Report, method
from aweigh.bench.result import Distribution, Measurement
from aweigh.cli.output import Output, size_text

_SHORT = 40
"""Longer values of a model's configuration are in the JSON alone."""
_SHOWN = ("p50", "p90", "p99", "p99.9")


def draw(out: Output, report: Report, *, plot: str, terminal: bool) -> None:
    """The whole report."""
    _head(out, report)
    _table(out, report.runs)
    for run in report.runs:
        _details(out, run)
    if terminal:
        out.text("", *drawing(report.runs[-1]))
    if report.capacity is not None and report.sizing is not None:
        out.text("", *_capacity(report, report.capacity, report.sizing))
    if report.verdicts:
        out.text("")
        rows = [
            (load_text(run), verdict.gate, verdict.found, "passed" if verdict.passed else "FAILED", verdict.why)
            for verdict, run in zip(
                report.verdicts, (run for run in report.runs for _ in range(len(report.verdicts) // len(report.runs))), strict=True
            )
        ]
        out.table(("load", "gate", "found", "verdict", ""), rows)
    out.text("", *(f"note: {note}" for note in report.notes))
    if plot and not terminal:
        out.text(f"plot written to {plot}")


def _head(out: Output, report: Report) -> None:
    served = f"{report.server.name} {report.server.version}".strip()
    model = ":".join(part for part in (report.model.name, ",".join(report.model.versions)) if part)
    out.text(f"{report.url}" + (f"   {model}" if model else "") + (f" on {served}" if served else ""))
    if report.server.config:
        out.text("served with " + ", ".join(f"{name} {value}" for name, value in report.server.config.items() if len(str(value)) <= _SHORT))
    asked = report.asked
    out.text(f"{asked.requests} different request{'s' if asked.requests > 1 else ''} of {size_text(asked.body_bytes)}, {asked.source}")
    if asked.checked:
        out.text(f"answers are compared with {asked.checked}")
    for said in dict.fromkeys(method(run.load) for run in report.runs):
        out.text(said)
    load, here = report.runs[0].load, report.machine
    many = f", {load.processes} processes" if load.processes > 1 else ""
    out.text(f"generator: {report.generator}{many}, on {here.processor}, {here.cores} cores, load average {report.load_before:.1f} before")
    out.text(
        f"{load.duration_s:g} s each, after {load.warmup_s:g} s of warm-up; times in ms, percentiles to within 0.5% of their value", ""
    )


def _table(out: Output, runs: tuple[Measurement, ...]) -> None:
    watched = any(run.server_cpu is not None for run in runs)
    columns = ["load", "answers/s", "errors", *_SHOWN, "max", "generator late p99", *(["server cores"] if watched else []), "verdict"]
    rows = []
    for run in runs:
        figures = [_ms(run.latency.percentiles_ms[name]) for name in _SHOWN]
        late = _ms(run.generator_late.percentiles_ms["p99"]) if run.load.is_open else "-"
        server = [f"{run.server_cpu:.2f}" if run.server_cpu is not None else "-"] if watched else []
        rows.append(
            [
                load_text(run),
                f"{run.answered_per_s:,.0f}",
                f"{run.failed:,}",
                *figures,
                _ms(run.latency.max_ms),
                late,
                *server,
                _verdict(run),
            ]
        )
        if run.corrected is not None:
            corrected = [_ms(run.corrected.percentiles_ms[name]) for name in _SHOWN]
            rows.append(["  corrected", "-", "-", *corrected, _ms(run.corrected.max_ms), "-", *(["-"] if watched else []), "estimate"])
    out.table(columns, rows)


def _errors(run: Measurement) -> str:
    return f"{run.failed:,} ({run.error_share:.2%})" if run.failed else "0"


def _verdict(run: Measurement) -> str:
    if not run.valid:
        return "INVALID"
    return "ok" if run.kept_up else "overloaded"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 100 else f"{value:,.0f}"


def _details(out: Output, run: Measurement) -> None:
    lines = [*(f"  {problem}" for problem in run.problems)]
    if run.failed:
        lines += [f"  {count:,} x {kind}: {run.details.get(kind, '')[:160]}" for kind, count in run.errors.items()]
    if run.load.is_open and _worth_telling(run.latency, run.service):
        service, latency = run.service.percentiles_ms["p99"], run.latency.percentiles_ms["p99"]
        lines.append(
            f"  counted from when requests were really sent, p99 would read {_ms(service)} instead of {_ms(latency)}: that is what waiting hides"
        )
    named = [slow for slow in run.slowest if slow.request_id]
    if named:
        lines.append(
            "  slowest: " + ", ".join(f"{slow.latency_s * 1000:.3g} ms at {slow.at_s:.2f} s (id {slow.request_id})" for slow in named[:3])
        )
    if lines:
        out.text("", f"{load_text(run)}:", *lines)


def _worth_telling(latency: Distribution, service: Distribution) -> bool:
    full, seen = latency.percentiles_ms["p99"], service.percentiles_ms["p99"]
    return full is not None and seen is not None and full > 1.5 * seen and full - seen > 1


def _capacity(report: Report, found: Capacity, sizing: Sizing) -> list[str]:
    tried = ", ".join(f"{trial.rate:,g} {trial.outcome}" for trial in found.trials)
    if not found.rate:
        return [f"no capacity at {report.objective}", f"  tried: {tried}"]
    least = "at least " if found.limited_by != "server" else ""
    above = f"; {found.failed_rate:,g}/s did not" if found.failed_rate is not None and found.limited_by == "server" else ""
    lines = [f"capacity at {report.objective}: {least}{found.rate:,g} requests/s (held in {found.held} of {found.runs} runs{above})"]
    if sizing.per_core is not None and sizing.cores is not None:
        lines.append(
            f"  {sizing.per_core:,.0f} requests/s per core ({sizing.cores:g} core{'s' if sizing.cores != 1 else ''}, {sizing.cores_from})"
        )
    else:
        lines.append("  per core: unknown, give --cores")
    if sizing.replicas is not None and sizing.load is not None:
        plural = "s" if sizing.replicas > 1 else ""
        lines.append(
            f"  {sizing.load:,g} requests/s need {sizing.replicas:,} replica{plural}, each asked for {1 - sizing.headroom:.0%} of what it can do"
        )
    if sizing.cost_per_hour is not None and sizing.cost_per_month is not None and sizing.cost_per_million is not None:
        lines.append(
            f"  cost: {sizing.cost_per_hour:,.2f} an hour, {sizing.cost_per_month:,.0f} a month of 730 hours, "
            f"{sizing.cost_per_million:.4g} per million requests"
        )
    return [*lines, f"  tried: {tried}"]
