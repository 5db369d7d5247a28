"""What a person is ready to give for speed: `accuracy >= 99%`, read from text and held against figures.

A share in per cent is one of the source's own figure, where the metric needs right answers; of what compares a variant with its source it is the figure
itself. `within 0.5 points` is a difference of hundredths: on both sides, where neither more nor less of the metric is better. `exact` keeps what answers as the source does, and nothing else.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from aweigh.core.errors import InvalidSetting
from aweigh.core.nearest import nearest

EXACT: Final = "exact"
LIKENESS: Final = ("agreement", "neighbours", "cosine")
"""Metrics that compare a variant with its source, and need no right answers."""
_FORM: Final = re.compile(
    r"(?P<metric>[a-z0-9_@]{1,40}(?:\[[^\]]{1,200}\])?)\s*"
    r"(?:(?P<sign><=|>=|≤|≥)\s*(?P<bound>-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?P<percent>%?)|within\s+(?P<points>[0-9]{1,3}(?:\.[0-9]{1,9})?)\s*points?)"
)
_EXAMPLES: Final = "write 'accuracy >= 99%' (of the source's), 'accuracy within 0.5 points', 'rmse <= 102%', 'agreement >= 99%', 'neighbours >= 97.5%' or 'exact'"
_MAX_TEXT: Final = 300
_SLACK: Final = 1e-9
"""Of the figures themselves: what two that are written alike may differ by, having been computed."""
_AGREEMENT: Final = 0.99
"""What passes aim at where the budget says nothing of it."""

Side = Literal["least", "most", "both"]
"""Whether a limit is the least or the most that a figure may be, or it may lie neither far below nor far above the source's."""
Direction = Callable[[str], int]
"""1 where more of a metric is better, -1 where less is, 0 where neither."""
_SIDES: Final[dict[int, Side]] = {1: "least", -1: "most", 0: "both"}
Bounded = Callable[[str], bool]
"""Whether no figure of a metric exceeds 1."""


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A metric on some rows, with its interval at 95%."""

    value: float
    low: float | None = None
    high: float | None = None


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One of a budget's. `bound` is a share of the source's figure, a figure, or hundredths below (or above) the source's."""

    text: str
    metric: str
    form: Literal["share", "figure", "points"]
    bound: float
    side: Side

    def limit(self, source: float, found: float = -math.inf) -> float:
        """The figure that a variant needs, where its source has this one; of a condition with two sides the one that lies where `found` does."""
        if self.form == "share":
            return self.bound * source
        if self.form == "points":
            above = self.side == "most" or (self.side == "both" and found > source)
            return source + self.bound if above else source - self.bound
        return self.bound

    def holds(self, source: float, found: float) -> bool:
        """Whether a variant with this figure may be kept, where its source has that one."""
        limit = self.limit(source, found)
        slack = _SLACK * max(abs(source), abs(limit))
        if self.side == "both":
            return abs(found - source) <= self.bound + slack
        return found >= limit - slack if self.side == "least" else found <= limit + slack


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """All of its conditions must hold; without any, answers must be the source's own."""

    text: str
    conditions: tuple[Condition, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether nothing may be given."""
        return not self.conditions

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those it speaks of, in order."""
        return tuple(dict.fromkeys(condition.metric for condition in self.conditions))

    @property
    def agreement(self) -> float:
        """The share of rows that may be expected to agree with the source: for passes that choose what stays in float. A share of an error says nothing of it."""
        shares = [
            1 - each.bound if each.form == "points" else each.bound
            for each in self.conditions
            if each.side == "least" and (each.form == "share" or each.metric in LIKENESS)
        ]
        shares = [share for share in shares if share <= 1]
        return max([0.5, *shares]) if shares else _AGREEMENT

    @property
    def measure(self) -> str:
        """What `agreement` is a share of."""
        return next((each.metric for each in self.conditions if each.metric in LIKENESS), "agreement")


class Judged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A condition held against a variant."""

    condition: str
    metric: str
    passed: bool
    source: float
    found: Figure | None = None
    """None where the variant's answers have no such figure: of NaN, most likely."""
    limit: float
    side: Side = "least"

    @property
    def lost(self) -> float:
        """By how much the figure is worse than the source's; 0 where it is no worse, or there is none."""
        if self.found is None:
            return 0.0
        gain = self.found.value - self.source
        return abs(gain) if self.side == "both" else max(0.0, -gain if self.side == "least" else gain)

    @property
    def told(self) -> str:
        """What was found, in figures."""
        return f"{self.found.value:.4g}" if self.found else "nothing"

    @property
    def beside(self) -> str:
        """What was found, of the source's own figure where it has one."""
        likeness = self.metric.partition("[")[0].partition("@")[0] in LIKENESS
        return self.told if likeness else f"{self.told} of {self.source:.4g}"


def parse_budget(text: str, better: Direction, known: tuple[str, ...], bounded: Bounded = lambda _: False) -> Budget:
    """Read `CONDITION[, CONDITION…]`. `known` are the metrics there are right answers for.

    Raises InvalidSetting with the forms there are, and for a bound that no figure reaches.
    """
    if text.strip().lower() == EXACT:
        return Budget(text=EXACT)
    if len(text) > _MAX_TEXT:
        raise InvalidSetting(f"--keep: {len(text)} characters", hint=_EXAMPLES)
    return Budget(text=text.strip(), conditions=tuple(_parse(part.strip(), better, known, bounded) for part in text.split(",")))


def _parse(text: str, better: Direction, known: tuple[str, ...], bounded: Bounded) -> Condition:
    found = _FORM.fullmatch(text)
    if found is None:
        raise InvalidSetting(f"--keep {text[:80]!r} is no budget", hint=_EXAMPLES)
    metric = found["metric"]
    base = metric.partition("[")[0].partition("@")[0]
    if base not in (*LIKENESS, *known):
        near = nearest(base, (*LIKENESS, *known))
        lacking = "" if known else "; metrics of right answers need --labels"
        raise InvalidSetting(
            f"--keep {text!r}: there is no metric {base!r} here{lacking}",
            hint=f"did you mean {near!r}?" if near else f"there are: {', '.join((*LIKENESS, *known))}",
        )
    likeness = base in LIKENESS
    wanted: Side = "least" if likeness else _SIDES[better(metric)]
    if found["points"]:
        return Condition(text=text, metric=metric, form="points", bound=float(found["points"]) / 100, side=wanted)
    side: Side = "least" if found["sign"] in {">=", "≥"} else "most"
    if wanted == "both" and found["percent"]:
        raise InvalidSetting(
            f"--keep {text!r}: of {base}, neither more nor less is better, and a share of it says nothing",
            hint=f"write '{metric} within 1 points', '{metric} >= NUMBER' or '{metric} <= NUMBER'",
        )
    if wanted not in {side, "both"}:
        raise InvalidSetting(f"--keep {text!r}: of {base}, {'more' if wanted == 'least' else 'less'} is better", hint=_EXAMPLES)
    bound = float(found["bound"]) / (100 if found["percent"] else 1)
    share = bool(found["percent"]) and not likeness
    if not likeness and not share and bound > 1 and bounded(metric):
        raise InvalidSetting(f"--keep {text!r}: {base} is at most 1", hint=f"did you mean '{found['bound']}%' (of the source's)?")
    if likeness and not 0 < bound <= 1:
        raise InvalidSetting(f"--keep {text!r}: {base} is a share of at most 100%", hint=_EXAMPLES)
    return Condition(text=text, metric=metric, form="share" if share else "figure", bound=bound, side=side)


def judge(budget: Budget, source: Mapping[str, Figure], found: Mapping[str, Figure]) -> list[Judged]:
    """Hold a variant's figures against its source's, which `check_measured` has seen. A figure that there is not passes nothing."""
    verdicts = []
    for condition in budget.conditions:
        own, other = source[condition.metric], found.get(condition.metric)
        verdicts.append(
            Judged(
                condition=condition.text,
                metric=condition.metric,
                passed=other is not None and condition.holds(own.value, other.value),
                source=own.value,
                found=other,
                limit=condition.limit(own.value, other.value) if other else condition.limit(own.value),
                side=condition.side,
            )
        )
    return verdicts


def check_measured(budget: Budget, source: Mapping[str, Figure]) -> None:
    """Raise InvalidSetting, with the nearest name, for a metric that the source's answers have no figure of: nothing could be held against it. And for a share of a
    figure below 0, which the source itself would not reach."""
    lacking = next((metric for metric in budget.metrics if metric not in source), "")
    if lacking:
        near = nearest(lacking, source)
        raise InvalidSetting(
            f"--keep {budget.text!r}: the source's answers to these rows have no {lacking!r}",
            hint=f"did you mean {near!r}?" if near else f"there are: {', '.join((*LIKENESS, *source))}",
        )
    for condition in budget.conditions:
        own = source[condition.metric].value
        if condition.form == "share" and own < 0:
            raise InvalidSetting(
                f"--keep {condition.text!r}: the source's own {condition.metric} is {own:.4g}, and a share of what is below 0 is no bound",
                hint=f"write '{condition.metric} within 1 points', or the figure itself",
            )
