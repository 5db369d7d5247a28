"""`aweigh status`: a running server, its workers and its models."""

from typing import TYPE_CHECKING

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text
from aweigh.cli.pipeline_text import Drawn, graph_lines, microseconds
from aweigh.cli.rollout_text import lines_of

if TYPE_CHECKING:
    from aweigh.engine.processes import ProcessFacts
    from aweigh.serve.overview import ModelStatus, ServerStatus
    from aweigh.serve.pipelines import StepFacts


@click.command("status")
@click.option("--url", metavar="URL", default="", help="The server (default: the host and port of the settings).")
@common_options("port", "api_key_file")
def command(run: Run, url: str) -> None:
    """Show a running server: its workers with memory and restarts, its models with variant, executor and the reasons.

    \b
    Examples:
      aweigh status
      aweigh status --url http://10.0.0.7:8080 --api-key-file keys
    """
    from aweigh.app.status import server_status

    status = server_status(run.settings, url)
    run.output.show(status, lambda: _draw(run, status))


def _draw(run: Run, status: "ServerStatus") -> None:
    kind = f"supervisor {status.supervisor_pid}" if status.supervisor_pid else "one process"
    run.output.text(f"aweigh {status.version}, {'ready' if status.ready else 'not ready'}, up {status.uptime_s:.0f} s, {kind}", "")
    run.output.table(
        ("pid", "state", "up", "restarts", "requests", "connections", "memory", "its share", "its own", "the one before"),
        [
            (
                worker.pid or "-", worker.state, f"{worker.uptime_s:.0f} s", worker.restarts, worker.requests, worker.connections,
                size_text(worker.resident_bytes), size_text(worker.proportional_bytes), size_text(worker.private_bytes), worker.last_end,
            )
            for worker in status.workers
        ],
        title="workers",
    )  # fmt: skip
    run.output.text("")
    run.output.table(
        ("model", "variant", "runtime", "executor", "memory", "requests", "failed", "rows"),
        [
            (f"{each.facts.name}:{each.facts.version}", each.facts.variant, each.facts.runtime, each.facts.executor, size_text(each.facts.memory_bytes), each.requests, each.failed, each.rows)
            for each in status.models
        ],
        title="models",
    )  # fmt: skip
    run.output.text(*(f"{each.name}:{each.version} is not loaded: {each.why}" for each in status.asleep))
    if status.room is not None and status.room.budget_bytes:
        used, budget = size_text(status.room.used_bytes), size_text(status.room.budget_bytes)
        run.output.text(f"models of one process take {used} of {budget}; {status.room.evicted} made room for others so far")
    for each in status.models:
        run.output.text(
            "",
            f"{each.facts.name}:{each.facts.version}",
            f"  variant {each.facts.variant}: {each.facts.variant_why}",
            f"  runs {each.facts.executor}: {each.facts.why}",
            f"  weights: {each.facts.weights}",
            *(f"  processes: {_processes_text(one)}" for one in each.processes),
            *_steps_text(each),
        )
    for fallback in status.fallbacks:
        told = f"{fallback.name} falls back on {fallback.other}: circuit {fallback.circuit}, {fallback.taken} requests so far"
        run.output.text("", told)
    for report in status.rollouts:
        run.output.text("", *lines_of(report))


def _steps_text(status: "ModelStatus") -> list[str]:
    """The graph of a pipeline, with what its steps did."""
    if not status.steps:
        return []
    drawn = [Drawn(name=step.name, runs=step.runs, takes=step.takes, rows=step.rows, note=_step_note(step)) for step in status.steps]
    answers = [output.split(" = ", 1) for output in status.answers]
    lines = graph_lines(drawn, [(name, source) for name, source in answers])
    return ["  steps, and what each took on average:", *(f"    {line}" for line in lines)]


def _step_note(step: "StepFacts") -> str:
    if not step.executions:
        return f"not asked yet{f', failed {step.failed} times' if step.failed else ''}"
    parts = [f"{microseconds(step.call_us)} a call of {step.answered_rows / step.executions:.1f} rows", f"{step.executions} calls"]
    parts += [f"{microseconds(step.waiting_us)} waiting"] if step.waiting_us >= 1 else []
    parts += [f"failed {step.failed} times"] if step.failed else []
    return ", ".join(parts)


def _processes_text(one: "ProcessFacts") -> str:
    pids = ", ".join(map(str, one.pids)) or "none"
    ended = f"; the last to end: {one.last_death}" if one.last_death else ""
    return f"{pids}, {'ready' if one.ready else 'not ready'}, replaced {one.restarts} times{ended}"
