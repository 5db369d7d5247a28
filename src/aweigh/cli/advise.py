"""`aweigh advise`: which target and size suits a model, what it costs, and why."""

from typing import TYPE_CHECKING, Any

import click

from aweigh.cli.options import Run, common_options
from aweigh.cli.output import size_text

if TYPE_CHECKING:
    from aweigh.app.advise import Advice


@click.command("advise")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
@click.option(
    "--load", metavar="NUMBER", type=click.FloatRange(min=0), default=1.0, help="Requests per second at the time when most is asked."
)
@click.option(
    "--busy", metavar="PERCENT", type=float, default=100.0, help="Part of the month in which so much is asked; nothing in the rest."
)
@click.option("--objective", metavar="TEXT", default="", help="Latency to hold, as 'p99 <= 20ms'.")
@click.option("--budget-month", metavar="AMOUNT", type=click.FloatRange(min=0), default=0.0, help="What a month may cost.")
@click.option("--capacity", metavar="FILE", default="", help="What `aweigh bench --find-capacity … --json` wrote, to size by.")
@click.option("--prices", metavar="FILE", default="", help="Your own prices, in place of those that come with aweigh.")
@click.option("--variant", metavar="NAME", default="", help="Variant to run (default: the quickest that is proven).")
@click.option("--all", "every", is_flag=True, help="Show the arithmetic of every target, not of the best alone.")
@common_options("no_isolate")
def command(run: Run, model: str, *, every: bool, **said: Any) -> int:
    """Say which target and size suits a model, what a month of it costs, and what rules the others out.

    Exits with 1 where none suits.

    \b
    Examples:
      aweigh advise fraud --load 200 --objective 'p99 <= 20ms'
      aweigh advise fraud --load 5 --busy 20 --budget-month 30
    """
    from aweigh.app.advise import AdviseOptions, advise_package

    with run.output.progress() as progress:
        advice = advise_package(run.settings, model, AdviseOptions(**said), progress=progress)
    run.output.show(advice, lambda: _draw(run, advice, every=every))
    return 0 if any(option.suits for option in advice.options) else 1


def _draw(run: Run, advice: "Advice", *, every: bool) -> None:
    text = run.output.text
    text(f"{advice.subject.model}, variant '{advice.subject.variant}', {size_text(round(advice.subject.size_mib * 2**20))}")
    capacity = advice.capacity
    text(
        f"{capacity.requests_per_second:.0f} requests/s a core, {capacity.memory_mib} MiB, ready in {capacity.start_s:.2f} s; {capacity.source}"
    )
    text(f"reckoned for {advice.wish.requests_per_second:g} requests a second when most is asked (--load)")
    rows = [
        (
            f"{option.target}{f' ({option.mode})' if option.mode else ''}",
            option.how,
            option.size,
            f"{option.monthly:.2f} {option.currency}" if option.monthly is not None else "-",
            "suits" if option.suits else f"no: {option.against[0]}",
        )
        for option in advice.options
    ]
    run.output.table(("target", "how", "size", "a month", "verdict"), rows)
    best = [option for option in advice.options if option.suits]
    for option in advice.options if every else best[:1]:
        text("", f"{option.target}, {option.how}:", *(f"  {line}" for line in (*option.reasons, *option.against, *option.arithmetic)))
    if best:
        text("", f"  {best[0].command}")
    else:
        text("", "none suits: try 'aweigh optimize', a longer objective, or a larger budget")
