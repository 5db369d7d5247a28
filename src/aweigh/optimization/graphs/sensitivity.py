"""Which layers stay in float: each group is lowered alone to see how much it hurts; then the fewest of the worst go back until the answers agree. Pure search."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Final

from aweigh.core.errors import Unsupported

_GROUPS: Final = 24


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How like the source's a changed model's answers are: the share that agrees, and how much was added to them."""

    share: float
    error: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """Nodes that stay in float, and what is found with them. `whole` is what was found with none."""

    kept: tuple[str, ...]
    found: Found
    whole: Found


Measure = Callable[[frozenset[str]], Found]
"""Build the model with these nodes in float and ask it."""
Hurt = Callable[[frozenset[str]], float]
"""The same with few rows: the error alone."""


def groups_of(nodes: Sequence[str], count: int = _GROUPS) -> list[tuple[str, ...]]:
    """At most so many groups of neighbours, of like sizes."""
    count = min(count, len(nodes))
    bounds = [round(at * len(nodes) / count) for at in range(count + 1)] if count else []
    return [tuple(nodes[start:end]) for start, end in itertools.pairwise(bounds)]


def mix(nodes: Sequence[str], measure: Measure, hurt: Hurt, needed: float, late: Callable[[], bool]) -> Mixed:
    """The fewest groups in float with which at least `needed` agrees. `late` ends the ranking, and the search as soon as something agrees.

    Raises Unsupported where nothing but float agrees.
    """
    whole = measure(frozenset())
    if whole.share >= needed:
        return Mixed(kept=(), found=whole, whole=whole)
    groups = groups_of(nodes)
    ranked = _ranked(groups, nodes, hurt, late)
    low, high, best = 0, len(groups), None
    step = 1
    while high - low > 1 and not (best is not None and late()):
        count = min(low + step, high - 1) if best is None else (low + high) // 2
        kept = frozenset(name for group in ranked[:count] for name in group)
        tried = measure(kept)
        if tried.share >= needed:
            high, best = count, (kept, tried)
        else:
            low = count
            step *= 2
    if best is None:
        raise Unsupported(
            f"{whole.share:.1%} of the calibration rows agree with every layer lowered, and {needed:.1%} only with nearly all of {len(nodes)} in float"
        )
    kept, tried = best
    return Mixed(kept=tuple(name for name in nodes if name in kept), found=tried, whole=whole)


def _ranked(groups: Sequence[tuple[str, ...]], nodes: Sequence[str], hurt: Hurt, late: Callable[[], bool]) -> list[tuple[str, ...]]:
    """The worst first; those that there was no time for come last, in their order."""
    errors: dict[tuple[str, ...], float] = {}
    for group in groups:
        if late():
            break
        errors[group] = hurt(frozenset(nodes).difference(group))
    return sorted(groups, key=lambda group: -errors.get(group, -1.0))


def told(mixed: Mixed, nodes: Sequence[str], what: str) -> tuple[str, ...]:
    """What a person should know of it."""
    if not mixed.kept:
        return (f"{len(nodes)} {what} in few bits; {mixed.found.share:.1%} of the calibration rows agree with the source",)
    names = ", ".join(mixed.kept[:6]) + (f" and {len(mixed.kept) - 6} more" if len(mixed.kept) > 6 else "")
    return (
        f"{len(mixed.kept)} of {len(nodes)} {what} stayed in float: {names}",
        f"{mixed.found.share:.1%} of the calibration rows agree with the source; {mixed.whole.share:.1%} did with all of them in few bits",
    )
