"""`aweigh verify`: prove a package again, on this machine."""

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.proof import draw_evidence
from aweigh.core.errors import ProofFailed


@click.command("verify")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
@click.option("--html", "page", metavar="FILE", default="", help="Also write the evidence as one page with plots.")
@common_options("no_isolate")
def command(run: Run, model: str, page: str) -> None:
    """Prove a package again, on this machine: its files by digest, then each variant against the golden set.

    Answers can differ between processors; the package is left as it is. Variants for machines of another
    system are named, and not tried. Exits with 1 if any variant fails.
    """
    from aweigh.app.evaluate import check_page
    from aweigh.app.verify import verify_package, write_evidence_page

    check_page(page)
    with run.output.progress() as progress:
        verified = verify_package(run.settings, model, progress=progress)
    package, proofs = verified.package, verified.proofs
    if page:
        write_evidence_page(str(package.reference), proofs, page)
    failed = [variant.name for variant, evidence in proofs if not evidence.passed]
    document = {
        "model": str(package.reference),
        "digest": package.digest,
        "passed": not failed,
        "variants": [{"name": variant.name, "evidence": evidence} for variant, evidence in proofs],
        "skipped": [{"name": name, "why": why} for name, why in verified.skipped.items()],
    }

    def draw() -> None:
        run.output.text(f"{package.reference}  {package.digest}")
        draw_evidence(run.output, proofs)
        run.output.text(*(f"variant {name} was not tried: {why}" for name, why in verified.skipped.items()))

    run.output.show(document, draw)
    if failed and not run.output.as_json:
        raise ProofFailed(f"{package.reference}: {', '.join(failed)} failed on this machine", hint="pack it again here, from its source")
    if failed:
        raise SystemExit(1)
