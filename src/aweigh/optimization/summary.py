"""A search in plain words: what was tried, what was kept and at what price, what was refused and why."""

from collections import Counter
from typing import Final

from aweigh.optimization.material import TELLING_ROWS
from aweigh.optimization.report import Optimization, Outcome, Result

_WORDS: Final[dict[Outcome, str]] = {
    "beaten": "were faster or smaller too, and beaten",
    "slower": "were no faster",
    "outside": "left the budget",
    "failed": "failed",
    "refused": "do not apply",
    "unproven": "were made for machines of another kind and are in the package without evidence: there 'aweigh verify' tries them",
    "untried": "were not tried: the time was over",
}


def summarised(report: Optimization) -> tuple[str, ...]:
    """Sentences, the most important first."""
    tried = [result for result in report.results if result.passes and result.outcome != "own"]
    stay = [result.name for result in report.results if result.passes and result.outcome == "own"]
    kept = [result for result in tried if result.outcome == "kept"]
    lines = [_kept(result) for result in kept] or [
        f"nothing is kept: of {len(tried)} candidates none is surely better than '{report.baseline}' within '{report.keep}'"
    ]
    if stay:
        lines.append(f"kept by an earlier search, within this budget too, and staying: {', '.join(stay)}")
    if report.rows < TELLING_ROWS:
        judged = f"{report.rows} row" if report.rows == 1 else f"{report.rows} rows"
        lines.append(
            f"the proof is weak: {judged} judged, and below {TELLING_ROWS} a good variant cannot be told from a bad one; give more DATA"
        )
    counted = Counter[Outcome](result.outcome for result in tried if result.outcome != "kept")
    if counted:
        lines.append("of the others, " + ", ".join(f"{counted[outcome]} {words}" for outcome, words in _WORDS.items() if counted[outcome]))
    if counted["untried"]:
        lines.append("a later call with the same data goes on where this one ended: give it more --time")
    return tuple(lines)


def _kept(result: Result) -> str:
    speeds = ", ".join(f"{speed.times:.2f} times as fast at {speed.at}" for speed in result.timed.speeds) if result.timed else ""
    figures = ", ".join(f"{each.metric} {each.told}" for each in result.unseen) or "answers as the source does"
    return f"kept '{result.name}': {speeds}; {figures}"
