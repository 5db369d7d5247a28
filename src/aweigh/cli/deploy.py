"""`aweigh deploy`: a package as files for a target, checked, and applied if asked."""

from typing import TYPE_CHECKING, Any

import click

from aweigh.cli.options import Run, common_options

if TYPE_CHECKING:
    from aweigh.app.deploy import Deployed


@click.command("deploy")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]", required=False)
@click.option("--to", "target", metavar="TARGET", default="", help="Where it shall run: see --list.")
@click.option("--list", "list_them", is_flag=True, help="List the targets and what each takes by --set.")
@click.option("--out", metavar="DIR", default="", help="Folder to render into (default: NAME-TARGET here).")
@click.option("--apply", is_flag=True, help="Apply it through the vendor's own client, once it was rendered and checked.")
@click.option("--image", metavar="ADDRESS", default="", help="Image that the target's machines pull; with a digest where you can.")
@click.option("--as", "name", metavar="NAME", default="", help="Name of the deployment (default: the model's).")
@click.option("--variant", metavar="NAME", default="", help="Variant to run (default: the quickest that is proven).")
@click.option("--scale", metavar="N|N..M", default="", help="How many run at once, or between which numbers.")
@click.option("--load", metavar="NUMBER", type=click.FloatRange(min=0), default=0.0, help="Requests per second to size for.")
@click.option("--objective", metavar="TEXT", default="", help="Latency to size for, as 'p99 <= 20ms'.")
@click.option("--capacity", metavar="FILE", default="", help="What `aweigh bench --find-capacity … --json` wrote, to size by.")
@click.option("--set", "settings_of_target", metavar="KEY=VALUE", multiple=True, help="An option of the target; repeat it for more.")
@click.option("--force", is_flag=True, help="Write over files that were changed since they were rendered.")
@common_options("no_isolate")
def command(run: Run, model: str | None, target: str, *, list_them: bool, **said: Any) -> int:
    """Render a package for a target as files that you can read and keep in Git, check them, and say what they cost and do.

    Nothing leaves this machine without --apply.

    \b
    Examples:
      aweigh deploy --list
      aweigh deploy fraud --to kubernetes --image registry.example/team/fraud:v3 --load 500
      aweigh deploy fraud --to lambda --set region=eu-west-1 --apply
    """
    if list_them:
        _list(run)
        return 0
    if not model or not target:
        raise click.UsageError("say which model, and where to: aweigh deploy NAME --to TARGET (aweigh deploy --list)")
    from aweigh.app.deploy import DeployOptions, deploy_package

    given = said.pop("settings_of_target")
    with run.output.progress() as progress:
        done = deploy_package(run.settings, model, DeployOptions(target=target, set=tuple(given), **said), progress=progress)
    run.output.show(_document(done), lambda: _draw(run, done))
    return 1 if any(finding.fatal for finding in done.findings) else 0


def _document(done: "Deployed") -> dict[str, object]:
    rendered = done.rendered
    return {
        "name": done.name,
        "target": done.target,
        "folder": str(done.folder),
        "files": sorted(rendered.files),
        "changed": list(done.changed),
        "does": list(rendered.does),
        "costs": list(rendered.costs),
        "commands": list(rendered.commands),
        "notes": list(rendered.notes),
        "findings": done.findings,
        "capacity": done.capacity,
        "deployment": done.deployment,
    }


def _draw(run: Run, done: "Deployed") -> None:
    text = run.output.text
    text(f"{done.folder}: {len(done.rendered.files)} files, {len(done.changed)} changed")
    removed = set(done.changed) - set(done.rendered.files)
    text(*(f"  {name}{' (removed)' if name in removed else ''}" for name in sorted({*done.rendered.files, *removed})))
    for title, lines in (
        ("does", done.rendered.does),
        ("costs", done.rendered.costs),
        ("notes", [*done.rendered.notes, done.capacity.source]),
    ):
        text(*(f"{title if not at else '':6} {line}" for at, line in enumerate(lines)))
    for finding in done.findings:
        text(f"{'WRONG' if finding.fatal else 'note'}  {finding.place}: {finding.message}{f' ({finding.hint})' if finding.hint else ''}")
    if done.deployment:
        text(f"applied{f': {done.deployment.address}' if done.deployment.address else ''}", f"aweigh undeploy {done.name}")
    elif any(finding.fatal for finding in done.findings):
        text("nothing can be applied before that is mended")
    elif done.rendered.commands:
        text(f"apply it with --apply, or by hand, in {done.folder}:", *(f"  {line}" for line in done.rendered.commands))


def _list(run: Run) -> None:
    from aweigh.app.deploy import list_targets

    found = list_targets()

    def draw() -> None:
        rows = [
            (
                each.name,
                ", ".join(each.needs) or ("?" if each.install else "nothing"),
                " ".join(f"{name}={'|'.join(each.choices.get(name, ())) or default or '…'}" for name, default in each.options.items()),
                "; ".join(note for note in (each.install, each.experimental and f"experimental: {each.experimental}") if note),
            )
            for each in found
        ]
        run.output.table(("target", "needs", "--set", "note"), rows)

    run.output.show({"targets": found}, draw)
