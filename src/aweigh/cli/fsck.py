"""`aweigh fsck`: read the whole store and say what is damaged."""

import click

from aweigh.app.packages import check_store
from aweigh.cli.options import Run, common_options
from aweigh.cli.output import Output, size_text
from aweigh.store import Checkup


@click.command("fsck")
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing a version.")
@common_options()
def command(run: Run, *, repair: bool) -> int:
    """Read the whole store and say what is damaged, and which versions and aliases that affects.

    Exits with 1 if anything is damaged and was not mended. What --repair cannot mend comes back by packing, importing or pulling it again.
    """
    with run.output.progress() as progress:
        checkup = check_store(run.settings, repair=repair, progress=progress)
    document = {
        "whole": checkup.whole,
        "versions": checkup.versions,
        "blobs": checkup.blobs,
        "size_bytes": checkup.size_bytes,
        "findings": checkup.findings,
    }
    run.output.show(document, lambda: _draw(run.output, checkup))
    return 0 if checkup.whole else 1


def _draw(output: Output, checkup: Checkup) -> None:
    output.text(f"read {checkup.versions} versions, {checkup.blobs} blobs, {size_text(checkup.size_bytes)}")
    for finding in checkup.findings:
        output.text(f"{'mended' if finding.mended else 'damaged'}: {finding.what} {finding.place}: {finding.problem}")
        if finding.affects:
            output.text(f"  affects {', '.join(finding.affects)}")
        if finding.hint and not finding.mended:
            output.text(f"  {finding.hint}")
    if not checkup.findings:
        output.text("nothing is damaged")
