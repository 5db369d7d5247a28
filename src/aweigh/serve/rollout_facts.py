"""Rollouts and fallbacks as `/status` and `/metrics` show them. Asked for with a time limit: neither may hang on a disk that does."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from aweigh.core.errors import AweighError
from aweigh.core.rollout import Report
from aweigh.engine.dataplane import DataPlane
from aweigh.serve.message import Request, Response
from aweigh.serve.overview import FallbackFacts
from aweigh.serve.prometheus import family

_PATIENCE_S: Final = 1.0
Make = Callable[[Sequence[Report]], Response]


def with_reports(dataplane: DataPlane, request: Request, make: Make) -> Response | None:
    """Answer a request with what is made of the rollouts of the whole server, of none where they cannot be told; None when the answer comes later."""
    if dataplane.rollouts is None:
        return make(())
    waiting = [request]

    def told(reports: Any, error: AweighError | None) -> None:
        if waiting:
            timer.cancel()
            waiting.clear()
            request.reply(request, make(reports if error is None else ()))

    timer = asyncio.get_running_loop().call_later(_PATIENCE_S, told, (), None)
    dataplane.rollouts.reports("", told)
    return None


def rollout_lines(reports: Sequence[Report]) -> Iterator[str]:
    """Prometheus text: those under way, and how the last one of each name ended."""
    running = [report for report in reports if report.open]
    if running:
        yield family("aweigh_rollout_info", "gauge", "A version that is tried beside the one that answers")
        for report in running:
            yield f'aweigh_rollout_info{{model="{report.plan.name}",stable="{report.stable}",candidate="{report.plan.candidate}",state="{report.state}"}} 1\n'
        yield from _each(
            "aweigh_rollout_candidate_share", "Share of the requests that the candidate answers", running, lambda one: one.plan.canary
        )
        yield from _each(
            "aweigh_rollout_shadow_share", "Share of the calls that are repeated with the candidate", running, lambda one: one.plan.shadow
        )
    compared = [report for report in running if report.compared is not None]
    if compared:
        yield from _each("aweigh_rollout_compared_rows", "Rows that both versions answered, since the rollout began", compared, _rows)
        yield from _each("aweigh_rollout_flips", "Of these, rows that got another label", compared, _flips)
        yield from _each("aweigh_rollout_max_difference", "Largest absolute difference of a number in their answers", compared, _max_abs)
    last = {report.plan.name: report for report in reversed(reports) if not report.open and report.ended_at}
    if last:
        yield family("aweigh_rollout_ended_timestamp_seconds", "gauge", "When the last rollout of a model ended, and how")
        for name, report in sorted(last.items()):
            labels = f'model="{name}",candidate="{report.plan.candidate}",outcome="{report.state}"'
            yield f"aweigh_rollout_ended_timestamp_seconds{{{labels}}} {_timestamp(report.ended_at):.0f}\n"


def fallback_lines(fallbacks: Sequence[FallbackFacts]) -> Iterator[str]:
    """The same of models that others stand in for."""
    if fallbacks:
        yield family("aweigh_fallback_total", "counter", "Requests of a model that its fallback was asked for")
        yield from (f'aweigh_fallback_total{{model="{each.name}",fallback="{each.other}"}} {each.taken}\n' for each in fallbacks)
        yield family("aweigh_fallback_circuit_open", "gauge", "Whether this process leaves the first choice alone for now")
        yield from (f'aweigh_fallback_circuit_open{{model="{each.name}"}} {int(each.circuit != "closed")}\n' for each in fallbacks)


def _each(name: str, text: str, reports: Sequence[Report], value: Callable[[Report], float]) -> Iterator[str]:
    yield family(name, "gauge", text)
    for report in reports:
        yield f'{name}{{model="{report.plan.name}",candidate="{report.plan.candidate}"}} {value(report):.10g}\n'


def _rows(report: Report) -> float:
    return report.compared.rows if report.compared is not None else 0


def _flips(report: Report) -> float:
    return report.compared.flips if report.compared is not None else 0


def _max_abs(report: Report) -> float:
    return report.compared.max_abs if report.compared is not None else 0


def _timestamp(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
