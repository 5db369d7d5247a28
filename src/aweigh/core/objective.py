"""Latency objectives: the one reading of `p99 <= 20ms`. Used by `aweigh bench` and by the server's --objective."""

import re
from typing import Final

import msgspec

from aweigh.core.errors import InvalidSetting

MAX_LIMIT_S: Final = 3600.0
UNITS_S: Final = {"us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0}
"""Both signs that are typed for micro are taken."""
_FORM: Final = re.compile(
    r"(?:p(?P<percentile>[0-9]{1,3}(?:\.[0-9]{1,4})?)|(?P<max>max))\s*(?:<=|≤)\s*(?P<limit>[0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?P<unit>us|[µμ]s|ms|s)"
)
_MAX_TEXT: Final = 80
_EXAMPLE: Final = "write it as 'p99 <= 20ms': p and a percentile, or max; '<='; a time in us, ms or s"


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """This share of the answers comes within this time."""

    percentile: float
    """Above 0; 100 is the slowest answer of all."""
    limit_s: float
    """Above 0, at most an hour."""

    def __str__(self) -> str:
        name = "max" if self.percentile == 100 else f"p{self.percentile:g}"
        return f"{name} <= {duration_text(self.limit_s)}"


def parse_objective(text: str) -> Objective:
    """Read `p99 <= 20ms`, `p99.9<=1.5 s` or `max <= 1s`. Raises InvalidSetting, which says what is wrong with the text."""
    found = _FORM.fullmatch(text.strip().lower()) if len(text) <= _MAX_TEXT else None
    if found is None:
        raise InvalidSetting(f"{text[:_MAX_TEXT]!r} is not a latency objective{_mistake(text[:_MAX_TEXT])}", hint=_EXAMPLE)
    percentile = 100.0 if found["max"] else float(found["percentile"])
    limit_s = float(found["limit"]) * UNITS_S[found["unit"]]
    if not 0 < percentile <= 100:
        raise InvalidSetting(f"{text.strip()!r} asks for percentile {percentile:g}: expected above 0, at most 100", hint=_EXAMPLE)
    if not 0 < limit_s <= MAX_LIMIT_S:
        raise InvalidSetting(f"{text.strip()!r} allows {limit_s:g} s: expected above 0, at most {MAX_LIMIT_S:g} s", hint=_EXAMPLE)
    return Objective(percentile=percentile, limit_s=limit_s)


def duration_text(seconds: float) -> str:
    """Seconds in the unit that people read best, at most four digits: `250us`, `20ms`, `1.5s`."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.99995 * scale:
            return f"{seconds / scale:.4g}{unit}"
    return f"{seconds * 1e6:.4g}us"


def _mistake(text: str) -> str:
    """The likeliest mistake, in words that follow 'is not a latency objective'."""
    lowered = text.strip().lower()
    if re.search(r"[^<≤]=|[<>](?!=)|>=", lowered):
        return ": only '<=' is understood"
    if re.search(r"(?:<=|≤)\s*[0-9.]+$", lowered):
        return ": the time has no unit"
    if "%" in lowered:
        return ": it has a '%'"
    return ""
