"""Requirements: `f1 >= 0.9`, `rmse.high <= 12`, `accuracy.worst >= 0.8`, read from text and held against a candidate. For gates in CI."""

import math
import re
from typing import Final

import msgspec

from aweigh.core.errors import InvalidSetting
from aweigh.evaluation.metrics import METRICS, base, bounded, known
from aweigh.evaluation.result import CandidateResult, Figure, Verdict

_FORM: Final = re.compile(
    r"(?P<metric>[a-z0-9_]{1,40}(?:@[0-9]{1,6})?(?:\[[^\]]{1,200}\])?)(?:\.(?P<side>low|high|worst))?"
    r"\s*(?P<sign><=|>=|≤|≥)\s*(?P<bound>-?[0-9]{1,15}(?:\.[0-9]{1,15})?(?:e-?[0-9]{1,3})?)\s*(?P<percent>%?)"
)
_EXAMPLES: Final = (
    "write one of 'f1 >= 0.9', 'rmse <= 12', 'accuracy.low >= 90%' (the interval's lower end), 'recall.worst >= 0.8' (the worst slice)"
)
_MAX_TEXT: Final = 300


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """One condition on one metric, on an end of its interval, or on the worst slice."""

    text: str
    metric: str
    at_least: bool
    bound: float
    side: str = ""
    """"low", "high", "worst", or "" for the figure itself."""


def parse_requirement(text: str) -> Requirement:
    """Read one requirement. Raises InvalidSetting with the forms there are, and for a bound that no figure reaches."""
    found = _FORM.fullmatch(text.strip()) if len(text) <= _MAX_TEXT else None
    if found is None:
        raise InvalidSetting(f"{text[:80]!r} is not a requirement", hint=_EXAMPLES)
    known(base(found["metric"]), METRICS, place=f"--require {text.strip()!r}")
    bound = float(found["bound"]) / (100 if found["percent"] else 1)
    if bound > 1 and bounded(found["metric"]):
        near = "" if found["percent"] else f"did you mean '{found['bound']}%'?"
        raise InvalidSetting(f"--require {text.strip()!r}: {base(found['metric'])} is at most 1", hint=near or _EXAMPLES)
    at_least = found["sign"] in {">=", "≥"}
    return Requirement(text=text.strip(), metric=found["metric"], at_least=at_least, bound=bound, side=found["side"] or "")


def judge(requirement: Requirement, candidate: CandidateResult) -> Verdict:
    """Hold it against a candidate. What has no value passes nothing. Raises InvalidSetting for a metric that was not measured."""
    named = {**candidate.metrics, **{f"{metric}[{label}]": one for label, row in candidate.classes.items() for metric, one in row.items()}}
    figure = named[known(requirement.metric, named, place=f"--require {requirement.text!r}, {candidate.model}")]
    if requirement.side == "worst":
        figure = _worst(requirement, candidate)
    found = getattr(figure, requirement.side) if requirement.side in {"low", "high"} else figure.value
    passed = found is not None and (found >= requirement.bound if requirement.at_least else found <= requirement.bound)
    return Verdict(requirement=requirement.text, model=candidate.model, passed=passed, found=found)


def _worst(requirement: Requirement, candidate: CandidateResult) -> Figure:
    """That of the slice which is furthest on the wrong side of the requirement's own bound; one without a value, if there is one."""
    found = [one.metrics[requirement.metric] for one in candidate.slices if requirement.metric in one.metrics]
    if not found:
        raise InvalidSetting(
            f"--require {requirement.text!r}: no slice has that metric", hint="give --slice COL, and a metric that is not of one class"
        )
    sign = 1 if requirement.at_least else -1
    return min(found, key=lambda figure: -math.inf if figure.value is None else sign * figure.value)
