"""The proof of a package as a short table: what `pack`, `verify` and `demo` print. `show` prints everything."""

from collections.abc import Sequence

from aweigh.cli.output import Output, size_text
from aweigh.core.evidence import Check, Evidence, Strength
from aweigh.core.package import Variant
from aweigh.store import StoredPackage

SHOWN_STORY = 240


def draw_proof(out: Output, package: StoredPackage) -> None:
    """Name, digest, and each variant's verdict with its checks."""
    manifest = package.manifest
    out.text(f"{package.reference}  {package.digest}  {size_text(package.size_bytes)}")
    proven = [(variant, variant.evidence) for variant in manifest.variants if variant.evidence is not None]
    draw_evidence(out, proven)
    rows = sum(case.rows for case in manifest.golden)
    out.text("", f"golden set: {len(manifest.golden)} cases, {rows} rows, kept in the package and replayed wherever it is loaded")
    if any(evidence.strength is Strength.WEAK for _, evidence in proven):
        out.text("the proof is weak: it rests on inputs made up from the model itself. Give --sample FILE for a full one")
    if manifest.metrics:
        out.text("metrics on the labels: " + ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items()))


def draw_evidence(out: Output, proven: Sequence[tuple[Variant, Evidence]]) -> None:
    """One line a check, for each variant."""
    for variant, evidence in proven:
        verdict = "proven" if evidence.passed else "FAILED"
        out.text("", f"variant {variant.name} ({variant.runtime}, {variant.precision}): {verdict} on {evidence.data}")
        out.table(("check", "verdict", "figures"), [_line(check) for check in evidence.checks])
        out.text(*(_way(repair) for repair in evidence.repairs))
        if not evidence.passed:
            worst = [item for check in evidence.checks for item in check.worst][:3]
            out.text(
                *(
                    f"  {item.case}[{item.row}] {item.output}: expected {item.expected}, got {item.actual} for {item.inputs}"
                    for item in worst
                )
            )


def _way(repair: str) -> str:
    """One way of converting that was tried; `aweigh show` has the whole of a long story."""
    way, _, outcome = repair.partition(": ")
    if outcome == "passed":
        return f"converted as: {way}"
    return f"tried: {repair[:SHOWN_STORY]}" + ("…" if len(repair) > SHOWN_STORY else "")


def _line(check: Check) -> tuple[str, str, str]:
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in check.figures.items() if value is not None)
    said = [figures, check.note] if not check.passed else [figures or check.note]
    return (check.name, "passed" if check.passed else "FAILED", "; ".join(text for text in said if text))
