"""Gates for CI: `p99 <= 20ms`, `errors <= 0.1%`, `throughput >= 1000/s`, read from text and held against a measurement.

A failed request is a miss of every latency gate. A measurement that cannot be believed passes no gate, unless what is wrong with it can
only have made the server look worse.
"""

import math
import re
from typing import Final, Literal

import msgspec

from aweigh.bench.result import Measurement
from aweigh.core.errors import InvalidSetting
from aweigh.core.objective import Objective, duration_text, parse_objective

_ERRORS: Final = re.compile(r"errors\s*(?:<=|≤)\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")
_THROUGHPUT: Final = re.compile(r"throughput\s*(?:>=|≥)\s*([0-9]{1,12}(?:\.[0-9]{1,3})?)\s*/\s*s")
_EXAMPLES: Final = "write one of 'p99 <= 20ms', 'errors <= 0.1%', 'throughput >= 1000/s'"


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One condition: a latency objective, the most errors (a share), or the least throughput (requests/s)."""

    text: str
    kind: Literal["latency", "errors", "throughput"]
    objective: Objective | None = None
    bound: float = 0.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate said of one measurement."""

    gate: str
    passed: bool
    found: str
    why: str = ""


def parse_gate(text: str) -> Gate:
    """Read one gate. Raises InvalidSetting with the forms there are."""
    plain = text.strip().lower()
    if found := _ERRORS.fullmatch(plain):
        share = float(found[1]) / 100
        if share > 1:
            raise InvalidSetting(f"{text.strip()!r} allows more than 100%", hint=_EXAMPLES)
        return Gate(text=text.strip(), kind="errors", bound=share)
    if found := _THROUGHPUT.fullmatch(plain):
        return Gate(text=text.strip(), kind="throughput", bound=float(found[1]))
    if plain.startswith(("errors", "throughput")):
        raise InvalidSetting(f"{text.strip()[:80]!r} is not a gate", hint=_EXAMPLES)
    try:
        return Gate(text=text.strip(), kind="latency", objective=parse_objective(text))
    except InvalidSetting as error:
        raise InvalidSetting(error.message.replace("is not a latency objective", "is not a gate"), hint=_EXAMPLES) from error


def judge(gate: Gate, measurement: Measurement) -> Verdict:
    """Hold a gate against what was measured."""
    if gate.objective is not None:
        value = measurement.percentile_s(gate.objective.percentile)
        passed, found = measurement.holds(gate.objective), _time(value)
    elif gate.kind == "errors":
        passed, found = measurement.scheduled > 0 and measurement.error_share <= gate.bound, f"{measurement.error_share:.4%}"
    else:
        passed, found = measurement.answered_per_s >= gate.bound, f"{measurement.answered_per_s:,.0f}/s"
    # in an open loop the generator's own lateness is in the latency: what passes in spite of it passes
    in_spite = measurement.load.is_open and measurement.kept_up
    why = (
        "" if measurement.valid else "in spite of the generator's lateness" if passed and in_spite else "the measurement cannot be believed"
    )
    return Verdict(gate=gate.text, passed=passed and (measurement.valid or in_spite), found=found, why=why)


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return "nothing was answered"
    return "more requests failed than the percentile leaves room for" if math.isinf(seconds) else duration_text(seconds)
