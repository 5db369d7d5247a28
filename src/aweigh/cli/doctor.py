"""`aweigh doctor`: check this machine and this installation, or how long a model takes to start. Exit code 1 where something is in the way."""

import click

from aweigh.app.doctor import Verdict, examine
from aweigh.cli.options import Run, common_options


@click.command("doctor")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]", required=False)
@click.option(
    "--target", metavar="TARGET", default="", help="Start the model as this target would, and tell what each part of the start takes."
)
@click.option("--variant", metavar="NAME", default="", help="Variant to start (default: the quickest that is proven).")
@common_options("host", "port")
def command(run: Run, model: str | None, target: str, variant: str) -> int:
    """Check Python, machine, home folder, port, and which plug-ins have their libraries. Exit code 1 if something is in the way.

    With a model and --target: what a start takes on this machine, by part, from the process to the first answer.

    \b
    Examples:
      aweigh doctor
      aweigh doctor fraud --target lambda
    """
    if model or target:
        if not (model and target):
            raise click.UsageError("say both, the model and the target: aweigh doctor NAME --target lambda")
        return _start(run, model, target, variant)
    findings = examine(run.settings)
    passed = not any(finding.verdict is Verdict.PROBLEM for finding in findings)

    def draw() -> None:
        rows = [(finding.check, finding.verdict.value, finding.value, finding.hint) for finding in findings]
        run.output.table(("check", "verdict", "found", "next step"), rows)

    run.output.show({"passed": passed, "findings": findings}, draw)
    return 0 if passed else 1


def _start(run: Run, model: str, target: str, variant: str) -> int:
    from aweigh.app.startup import startup

    with run.output.progress() as progress:
        found = startup(run.settings, model, target, variant=variant, progress=progress)

    def draw() -> None:
        rows = [(part, f"{took:.1f} ms", f"{100 * took / found.total_ms:.0f}%") for part, took in found.parts.items()]
        run.output.table(("part", "takes", "share"), [*rows, ("all", f"{found.total_ms:.1f} ms", "100%")])
        run.output.text(f"{found.why}; a bare `python -c pass` takes {found.python_ms:.1f} ms here")

    run.output.show({"startup": found}, draw)
    return 0
