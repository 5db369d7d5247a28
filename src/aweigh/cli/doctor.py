"""`aweigh doctor`: check this machine and this installation. Exit code 1 where something is in the way."""

import click

from aweigh.app.doctor import Verdict, examine
from aweigh.cli.options import Run, common_options


@click.command("doctor")
@common_options("host", "port")
def command(run: Run) -> int:
    """Check Python, machine, home folder, port, and which plug-ins have their libraries. Exit code 1 if something is in the way."""
    findings = examine(run.settings)
    passed = not any(finding.verdict is Verdict.PROBLEM for finding in findings)

    def draw() -> None:
        rows = [(finding.check, finding.verdict.value, finding.value, finding.hint) for finding in findings]
        run.output.table(("check", "verdict", "found", "next step"), rows)

    run.output.show({"passed": passed, "findings": findings}, draw)
    return 0 if passed else 1
