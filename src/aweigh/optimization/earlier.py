"""What earlier searches kept and the package has: it is held to the budget of this one, and stays where nothing else is as quick and as small. Part of `search.py`."""

import dataclasses
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Final

import msgspec

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.making import load_pass
from aweigh.optimization.report import Result
from aweigh.optimization.timing import Timed
from aweigh.optimization.trying import Tried, Workshop

_ANSWERS: Final = frozenset({"parity", "rows"})
"""Checks of answers beside the source's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Results of all of them, and what becomes of them. One that could not be asked is in neither: nothing is known against it, and it stays as it was."""

    results: tuple[Result, ...] = ()
    stays: tuple[tuple[Candidate, Timed], ...] = ()
    goes: tuple[Result, ...] = ()


def with_passes(candidate: Candidate) -> Candidate:
    """A variant of a package, as a pass would have left it. What was made by a pass that is not there any more is not gone on from."""
    try:
        declared = [load_pass(step.partition(" ")[0]).declares for step in candidate.chain]
    except Unsupported:
        return dataclasses.replace(candidate, composes=False)
    return dataclasses.replace(candidate, kinds=tuple(each.kind for each in declared), composes=all(each.composes for each in declared))


def held_again(workshop: Workshop, earlier: Candidate) -> Tried:
    """One of them, judged and timed as a candidate is. One that should answer as the source does, and does not on these rows, cannot stay what it says it is: where it keeps the budget, it
    is made again as one that departs."""
    if workshop.material.budget.exact and earlier.departs:
        why = "it changes answers, and the budget is 'exact'"
        return Tried(result=Result(name=earlier.variant.name, passes=earlier.chain, base=earlier.base, outcome="refused", why=why))
    result, candidate = workshop.assess(earlier, monotonic())
    if not earlier.departs and answers_otherwise(candidate.variant):
        result = msgspec.structs.replace(result, outcome="outside", why="it does not answer these rows as the source does")
    return Tried(result=result, candidate=candidate)


def answers_otherwise(variant: Variant) -> bool:
    """Whether one that should answer as the source does was found not to."""
    checks = variant.evidence.checks if variant.evidence else ()
    return variant.departure is not None or any(check.name in _ANSWERS and not check.passed for check in checks)


def settle(
    earlier: Iterable[tuple[Candidate, Result]], timed: Mapping[str, Timed], broken: Mapping[str, str], rivals: Iterable[str]
) -> Settled:
    """By the times of the last comparison. `rivals` are the names of the package's own variants and of those that are kept now."""
    pairs = list(earlier)
    good = [result.name for _, result in pairs if result.outcome in {"beaten", "slower"} and result.name in timed]
    others = [*rivals, *good]
    results: list[Result] = []
    stays: list[tuple[Candidate, Timed]] = []
    goes: list[Result] = []
    for candidate, result in pairs:
        name = result.name
        if name in good:
            better = next((other for other in others if dominates(timed[other], timed[name])), "")
            why = f"'{better}' is as quick and as small" if better else ""
            settled = msgspec.structs.replace(result, outcome="beaten" if better else "own", timed=timed[name], why=why)
            if not better:
                stays.append((candidate, timed[name]))
        elif result.outcome == "failed" or name in broken:
            settled = msgspec.structs.replace(result, outcome="failed", why=f"{broken.get(name, result.why)}; it stays as it was")
        else:
            settled = result
        results.append(settled)
        if settled.outcome in {"beaten", "outside", "refused"}:
            goes.append(settled)
    return Settled(results=tuple(results), stays=tuple(stays), goes=tuple(goes))


def dominates(one: Timed, other: Timed) -> bool:
    """Whether one is at least as quick at every size of batch and as small, and better in something."""
    pairs = [(x.times, y.times) for x, y in zip(one.speeds, other.speeds, strict=True)] + [(-one.size_bytes, -other.size_bytes)]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)
