"""What a person is ready to give for speed: `accuracy >= 99%`, read from text and held against figures.

A share in per cent is one of the source's own figure, where the metric needs right answers; of what compares a variant with its source it is the figure
itself. `within 0.5 points` is a difference of hundredths. `exact` keeps what answers as the source does, and nothing else.
"""

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

Direction = Callable[[str], int]
"""1 where more of a metric is better, -1 where less is, 0 where neither."""
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
    at_least: bool

    def limit(self, source: float) -> float:
        """The figure that a variant needs, where its source has this one."""
        if self.form == "share":
            return self.bound * source
        if self.form == "points":
            return source - self.bound if self.at_least else source + self.bound
        return self.bound


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
        """The share of rows that may be expected to agree with the source: for passes that choose what stays in float."""
        shares = [
            1 - each.bound if each.form == "points" else each.bound
            for each in self.conditions
            if each.form == "share" or each.metric in LIKENESS
        ]
        return min(1.0, max([0.5, *(share for share in shares if share <= 1)])) if shares else 0.99

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
    more = likeness or better(metric) >= 0
    if found["points"]:
        return Condition(text=text, metric=metric, form="points", bound=float(found["points"]) / 100, at_least=more)
    at_least = found["sign"] in {">=", "≥"}
    if at_least != more:
        raise InvalidSetting(f"--keep {text!r}: of {base}, {'more' if more else 'less'} is better", hint=_EXAMPLES)
    bound = float(found["bound"]) / (100 if found["percent"] else 1)
    share = bool(found["percent"]) and not likeness
    if not likeness and not share and bound > 1 and bounded(metric):
        raise InvalidSetting(f"--keep {text!r}: {base} is at most 1", hint=f"did you mean '{found['bound']}%' (of the source's)?")
    if likeness and not 0 < bound <= 1:
        raise InvalidSetting(f"--keep {text!r}: {base} is a share of at most 100%", hint=_EXAMPLES)
    return Condition(text=text, metric=metric, form="share" if share else "figure", bound=bound, at_least=at_least)


def judge(budget: Budget, source: Mapping[str, Figure], found: Mapping[str, Figure]) -> list[Judged]:
    """Hold a variant's figures against its source's, which `check_measured` has seen. A figure that there is not passes nothing."""
    verdicts = []
    for condition in budget.conditions:
        own, other = source[condition.metric], found.get(condition.metric)
        limit = condition.limit(own.value)
        passed = other is not None and (other.value >= limit if condition.at_least else other.value <= limit)
        verdicts.append(
            Judged(condition=condition.text, metric=condition.metric, passed=passed, source=own.value, found=other, limit=limit)
        )
    return verdicts


def check_measured(budget: Budget, source: Mapping[str, Figure]) -> None:
    """Raise InvalidSetting, with the nearest name, for a metric that the source's answers have no figure of: nothing could be held against it."""
    lacking = next((metric for metric in budget.metrics if metric not in source), "")
    if lacking:
        near = nearest(lacking, source)
        raise InvalidSetting(
            f"--keep {budget.text!r}: the source's answers to these rows have no {lacking!r}",
            hint=f"did you mean {near!r}?" if near else f"there are: {', '.join((*LIKENESS, *source))}",
        )
