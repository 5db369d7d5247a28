"""`aweigh status`: a running server, its workers and its models."""

from typing import TYPE_CHECKING

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text

if TYPE_CHECKING:
    from aweigh.engine.processes import ProcessFacts
    from aweigh.serve.overview import ServerStatus


@click.command("status")
@click.option("--url", metavar="URL", default="", help="The server (default: this machine, at the port of the settings).")
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
        ("model", "variant", "runtime", "executor", "requests", "failed", "rows"),
        [
            (f"{each.facts.name}:{each.facts.version}", each.facts.variant, each.facts.runtime, each.facts.executor, each.requests, each.failed, each.rows)
            for each in status.models
        ],
        title="models",
    )  # fmt: skip
    for each in status.models:
        run.output.text(
            "",
            f"{each.facts.name}:{each.facts.version}",
            f"  runs {each.facts.executor}: {each.facts.why}",
            f"  weights: {each.facts.weights}",
            *(f"  processes: {_processes_text(one)}" for one in each.processes),
        )


def _processes_text(one: "ProcessFacts") -> str:
    pids = ", ".join(map(str, one.pids)) or "none"
    ended = f"; the last to end: {one.last_death}" if one.last_death else ""
    return f"{pids}, {'ready' if one.ready else 'not ready'}, replaced {one.restarts} times{ended}"
