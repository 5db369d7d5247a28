"""The evidence of a package as one page of HTML: checks with figures and limits, how far numbers stray, the worst inputs, times. For `aweigh verify --html`."""

from collections.abc import Sequence

from aweigh.core.evidence import Evidence
from aweigh.core.package import Variant
from aweigh.core.pages import Bar, Page, bars_svg, number_text
from aweigh.verify.errors import ERRORS


def evidence_page(title: str, proofs: Sequence[tuple[Variant, Evidence]]) -> str:
    """The page as text."""
    page = Page(title)
    for variant, evidence in proofs:
        page.heading(f"{variant.name} ({variant.runtime}, {variant.precision}): {'proven' if evidence.passed else 'FAILED'}")
        page.text(f"On {evidence.data}; the proof is {evidence.strength}.")
        page.text(
            f"{evidence.made_at}, {evidence.machine.processor}, {evidence.machine.cores} cores, {evidence.machine.system}.", small=True
        )
        page.text(", ".join(f"{name} {version}" for name, version in evidence.versions.items()), small=True)
        for repair in evidence.repairs:
            page.text(f"Way of converting: {repair}", small=True)
        _checks(page, evidence)
        _plots(page, evidence)
        _worst(page, evidence)
    return page.html()


def _checks(page: Page, evidence: Evidence) -> None:
    rows = []
    for check in evidence.checks:
        figures = ", ".join(f"{name} {number_text(value)}" for name, value in check.figures.items())
        limits = ", ".join(f"{name} {number_text(value)}" for name, value in check.limits.items())
        rows.append((check.name, "passed" if check.passed else "FAILED", figures, limits, check.note))
    page.table(("check", "verdict", "figures", "limits", "note"), rows)


def _plots(page: Page, evidence: Evidence) -> None:
    """How far each output strays, and how long a call takes, both on logarithmic scales."""
    parity = evidence.check("parity")
    if parity is not None:
        figures = [(name, value) for name, value in parity.figures.items() if value and name.endswith((".max_abs", ".max_rel"))]
        errors = [Bar(name=name, value=value, marked=not parity.passed) for name, value in figures]
        if errors:
            page.plot(bars_svg("Largest error of each output (logarithmic)", errors, logarithmic=True))
    for output, bars in _distribution(evidence).items():
        page.plot(bars_svg(f"Values of '{output}' by how far they stray", bars))
    times = [Bar(name=name, value=value) for name, value in evidence.figures.items() if "latency_us" in name and value > 0]
    if times:
        page.plot(bars_svg("Median time of a call, microseconds (logarithmic)", times, logarithmic=True))


def _distribution(evidence: Evidence) -> dict[str, list[Bar]]:
    """Of each output of numbers: how many values differ by nothing, by some 1e-16, and so on."""
    check = evidence.check(ERRORS)
    found: dict[str, list[tuple[float, Bar]]] = {}
    for name, count in (check.figures if check is not None else {}).items():
        output, _, size = name.rpartition(" ")
        words = "equal" if size == "0" else f"from {size}"
        found.setdefault(output, []).append((float(size), Bar(name=words, value=count or 0.0)))
    return {output: [bar for _, bar in sorted(bars, key=lambda pair: pair[0])] for output, bars in found.items()}


def _worst(page: Page, evidence: Evidence) -> None:
    worst = [(check.name, w.case, w.row, w.output, w.expected, w.actual, w.inputs) for check in evidence.checks for w in check.worst]
    if worst:
        page.table(("check", "case", "row", "output", "expected", "given", "inputs"), worst)
