"""An evaluation as one page of HTML: figures with intervals, the worst slices, calibration, confusion, comparisons, requirements."""

from typing import Final

from aweigh.core.pages import Bar, Page, bars_svg, interval_text, square_svg
from aweigh.evaluation.result import CandidateResult, Evaluation, Figure

_MAX_SLICES: Final = 30
_MAX_CLASSES: Final = 60


def evaluation_page(found: Evaluation) -> str:
    """The page as text."""
    page = Page(f"Evaluation on {found.data}")
    page.text(f"Task: {found.task}. {found.rows} rows. Ranked by {found.by}.")
    page.text(f"Intervals: {found.method}.", small=True)
    for note in found.notes:
        page.text(note, small=True)
    _requirements(page, found)
    _candidates(page, found)
    for candidate in found.candidates:
        _slices(page, found, candidate)
        _classes(page, found, candidate)
    lines = [(one.model, [(part.said, part.found) for part in one.calibration]) for one in found.candidates if one.calibration]
    if lines:
        page.heading("Calibration")
        page.plot(square_svg("What is said, and how often it is so", lines, across="probability said", up="share found"))
    return page.html()


def text_of(figure: Figure) -> str:
    """A figure with its interval."""
    return interval_text(figure.value, figure.low, figure.high)


def _requirements(page: Page, found: Evaluation) -> None:
    if found.verdicts:
        page.heading("Requirements")
        rows = [(one.model, one.requirement, one.found, "passed" if one.passed else "FAILED") for one in found.verdicts]
        page.table(("model", "requirement", "found", "verdict"), rows)


def _candidates(page: Page, found: Evaluation) -> None:
    page.heading("Figures")
    rows = [(name, *map(text_of, figures)) for name, figures in found.figures.items()]
    page.table(("metric", *(one.model for one in found.candidates)), rows)
    page.plot(bars_svg(found.by, [_bar(one.model, one.metrics[found.by], marked=False) for one in found.candidates]))
    if found.comparisons:
        page.heading(f"Beside {found.comparisons[0].best}")
        compared = [(one.other, text_of(one.difference), one.p_value, one.mcnemar_p) for one in found.comparisons]
        page.table(("other", f"difference of {found.by}", "p (bootstrap)", "p (McNemar)"), compared)
        page.text("Paired on the same rows; p values are adjusted for the number of comparisons (Holm).", small=True)


def _slices(page: Page, found: Evaluation, candidate: CandidateResult) -> None:
    if not candidate.slices:
        return
    page.heading(f"Slices of {candidate.model}, the worst first")
    shown = candidate.slices[:_MAX_SLICES]
    page.plot(
        bars_svg(found.by, [_bar(f"{one.column} = {one.value} ({one.rows})", one.metrics[found.by], marked=one.worse) for one in shown])
    )
    if len(candidate.slices) > len(shown):
        page.text(f"{len(candidate.slices) - len(shown)} more slices stand in the JSON report.", small=True)
    page.text("Red: the whole interval is worse than the figure of all rows.", small=True)


def _classes(page: Page, found: Evaluation, candidate: CandidateResult) -> None:
    if not candidate.classes:
        return
    page.heading(f"Classes of {candidate.model}")
    rows = [(label, *(text_of(metrics[name]) for name in ("precision", "recall", "f1"))) for label, metrics in candidate.classes.items()]
    page.table(("class", "precision", "recall", "f1"), rows[:_MAX_CLASSES])
    if candidate.confusion and len(candidate.confusion) <= _MAX_CLASSES:
        page.text("Confusion: rows by the right answer, columns by the answer given.", small=True)
        page.table(("", *found.labels), [(label, *counts) for label, counts in zip(found.labels, candidate.confusion, strict=True)])


def _bar(name: str, figure: Figure, *, marked: bool) -> Bar:
    value = float("nan") if figure.value is None else figure.value
    return Bar(name=name, value=value, low=figure.low, high=figure.high, marked=marked)
