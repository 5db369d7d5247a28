"""A comparison of two packages as one page of HTML."""

from aweigh.core.pages import Bar, Page, bars_svg
from aweigh.evaluation.differences import DiffReport


def differences_page(report: DiffReport) -> str:
    """The page as text."""
    page = Page(f"{report.first} and {report.second}")
    page.text(f"On {report.data}: {report.rows} rows. {report.digests[0]} and {report.digests[1]}.")
    for note in report.notes:
        page.text(note, small=True)
    if report.bounds:
        page.heading("Bounds")
        rows = [(one.name, one.limit, one.found, "passed" if one.passed else "FAILED") for one in report.bounds]
        page.table(("bound", "limit", "found", "verdict"), rows)
    page.heading("Answers")
    ranks = "" if report.rank_changes is None else f" Rows that stand elsewhere: {report.rank_changes}."
    page.text(f"Labels that flip: {report.flips}.{ranks}")
    columns = ("output", "datatype", "rows beyond tolerance", "largest", "largest, relative", "mean", "median", "p99")
    page.table(columns, [(o.name, o.datatype, o.rows_changed, o.max_abs, o.max_rel, o.mean_abs, o.p50, o.p99) for o in report.outputs])
    for output in report.outputs:
        if output.decades:
            bars = [Bar(name=name, value=float(count)) for name, count in output.decades.items()]
            page.plot(bars_svg(f"{output.name}: elements by how far they lie apart", bars))
    if report.worst:
        page.heading("Where they differ most")
        page.table(
            ("case", "row", "output", report.first, report.second, "apart", "inputs"),
            [(w.case, w.row, w.output, w.first, w.second, w.gap, w.inputs) for w in report.worst],
        )
    if report.latency_us:
        page.heading("Time")
        page.plot(bars_svg("Median time of one row, microseconds", [Bar(name=name, value=us) for name, us in report.latency_us.items()]))
    return page.html()
