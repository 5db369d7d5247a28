"""The search: which candidate to try next, and which of them to keep. Cheap passes first, each alone; then compositions of those that nothing else beats;
at last the finalists and the package's own variants side by side.
"""

import dataclasses
import math
from collections.abc import Container, Mapping, Sequence
from time import monotonic
from typing import Final

import msgspec

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.protocols import Progress, quiet
from aweigh.optimization.candidates import Candidate, name_of, step_of
from aweigh.optimization.earlier import Settled, dominates, held_again, settle
from aweigh.optimization.journal import Journal
from aweigh.optimization.making import load_pass
from aweigh.optimization.material import Material
from aweigh.optimization.passing import Declaration, Kind, Need, Way
from aweigh.optimization.report import Result
from aweigh.optimization.timing import Contestant, Speed, Timed, compare, merged
from aweigh.optimization.trying import Tried, Workshop, slower_words, told, worthwhile

GOALS: Final[dict[str, tuple[str, ...]]] = {
    "cpu": ("latency", "throughput"),
    "latency": ("latency",),
    "throughput": ("throughput",),
    "gpu": ("latency", "throughput"),
    "size": ("size",),
    "edge": ("size", "latency"),
    "mobile": ("size", "latency"),
}
"""What a search may be for, and in what the best is kept."""
_FINALISTS: Final = 3
_PARENTS: Final = 3
_FINAL_S: Final = 0.6
_FINAL_PROCESSES: Final = 3
"""Each finalist is timed in so many processes: where memory happens to lie makes one quicker than the next for as long as it lives."""
_ORDER: Final = tuple(Kind)
_BEFORE_PRECISION: Final = frozenset({Kind.REWRITE, Kind.TRAIN})
"""What is quantised as any other model is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that was tried, the package's own variants first; of the kept ones the candidates, with the times of the last comparison."""

    results: tuple[Result, ...]
    kept: tuple[Candidate, ...]
    own: tuple[tuple[Candidate, Timed], ...]
    earlier: Settled
    """What becomes of those that earlier searches kept."""
    unproven: tuple[Candidate, ...] = ()
    """What was made for machines of another kind."""


class Search:
    """One search. `passes` are the names of those to be tried; nothing new is begun once `deadline` (monotonic seconds) is over."""

    def __init__(self, material: Material, journal: Journal, passes: Sequence[str], *, deadline: float, progress: Progress = quiet) -> None:
        self._material = material
        self._workshop = Workshop(material, journal)
        self._declared = {name: load_pass(name).declares for name in passes}
        self._passes = sorted(passes, key=lambda name: _ORDER.index(self._declared[name].kind))
        self._deadline = deadline
        self._progress = progress
        self._tried: list[Tried] = []
        self._earlier: list[Tried] = []
        self._done = 0
        self._begun: set[str] = set()
        """Passes that began at the source: what the package has of it is nothing to them, so that once is enough."""

    @property
    def workshop(self) -> Workshop:
        """Where candidates are made and judged."""
        return self._workshop

    def run(self) -> Found:
        """Try, compose, compare. Raises what the baseline itself raises."""
        try:
            for kept in self._material.earlier:
                self._progress(f"holding '{kept.variant.name}' of an earlier search to the budget")
                self._earlier.append(held_again(self._workshop, kept))
            for parent in self._material.own:
                self._extend(parent, self._passes)
            for parent in self._parents():
                self._extend(parent, self._of_kind(Kind.PRECISION))
            for parent in self._leaders():
                self._extend(parent, self._of_kind(Kind.TUNE))
            return self._decide()
        finally:
            self._workshop.close()

    def _extend(self, parent: Candidate, names: Sequence[str]) -> None:
        """Try passes on a candidate, in all of their ways."""
        for name in names:
            declared = self._declared[name]
            if parent.variant.runtime not in declared.takes or self._material.goal not in declared.goals:
                continue
            if any(name == step.partition(" ")[0] for step in parent.chain):
                continue
            if Need.SOURCE in declared.needs and (parent.chain or name in self._begun):
                continue
            lacking = self._lacking(declared)
            if lacking:
                self._begun.add(name)
                self._note(parent, name, lacking)
                continue
            try:
                ways = self._workshop.ways(parent, name)
            except AweighError as error:
                self._note(parent, name, told(error))
                continue
            self._begun.add(name)
            for way in ways:
                self._try(parent, name, way)

    def _of_kind(self, kind: Kind) -> list[str]:
        return [name for name in self._passes if self._declared[name].kind is kind]

    def _try(self, parent: Candidate, name: str, way: Way) -> None:
        words = self._workshop.words(parent, step_of(name, way))
        if {name_of(words), name_of((*parent.chain, step_of(name, way)))} & {own.variant.name for own in self._material.own}:
            return  # an earlier search made it, and the package has it as its own
        if name_of(words) in {each.result.name for each in self._earlier if each.good}:
            return
        if monotonic() >= self._deadline:
            result = self._workshop.refusal(parent, step_of(name, way), "untried", "the time was over")
            self._tried.append(Tried(result=result))
            return
        self._done += 1
        self._progress(f"{self._done}: {' + '.join(words)}")
        self._tried.append(self._workshop.try_way(parent, name, way, until=self._deadline))

    def _note(self, parent: Candidate, name: str, why: str) -> None:
        self._tried.append(Tried(result=self._workshop.refusal(parent, name, "refused", why)))

    def _lacking(self, declared: Declaration) -> str:
        """What the pass needs and was not given; "" where nothing."""
        material = self._material
        if declared.departs and material.budget.exact:
            return "it changes answers, and the budget is 'exact'"
        if declared.departs and not material.finite:
            return "it changes answers, and nearly every row holds NaN or infinities, with which nothing can be proven of it"
        absent = {
            Need.CALIBRATION: material.calibration is None,
            Need.TRAINING: not material.training.train,
            Need.SOURCE: not material.training.source,
            Need.STUDENT: not material.training.student,
            Need.LABELS: not material.labelled,
        }
        needs = sorted(need.value for need in declared.needs if absent.get(need, False))
        return f"it needs {' and '.join(needs)}" if needs else ""

    @property
    def _all(self) -> list[Tried]:
        return [*self._earlier, *self._tried]

    def _parents(self) -> list[Candidate]:
        """What is worth quantising: what nothing else of its kind beats in every respect, the quickest first, and the quickest rewriting of each runtime."""
        good = [each for each in self._all if each.good and each.result.timed and _quantisable(each.candidate)]
        front = [each for each in good if each.result.outcome == "beaten" and not any(_dominates(other, each) for other in good)]
        rewritten = {each.candidate.variant.runtime: each for each in sorted(good, key=_times) if each.candidate.kinds == (Kind.REWRITE,)}  # type: ignore[union-attr]  # those without a candidate are not good
        chosen = {each.result.name: each for each in (*sorted(front, key=_times, reverse=True)[:_PARENTS], *rewritten.values())}
        return [each.candidate for each in chosen.values() if each.candidate is not None]

    def _leaders(self) -> list[Candidate]:
        """The best of each criterion that was not tuned yet."""
        found = {}
        for criterion in GOALS[self._material.goal]:
            for each in self._ranked(criterion)[:1]:
                if (
                    each.candidate is not None
                    and each.candidate.chain
                    and Kind.TUNE not in each.candidate.kinds
                    and each.candidate.composes
                ):
                    found[each.result.name] = each.candidate
        return list(found.values())

    def _ranked(self, criterion: str) -> list[Tried]:
        good = [each for each in self._all if each.result.outcome == "beaten" and each.result.timed and each.candidate is not None]
        return sorted(good, key=lambda each: _worth(criterion, each.result.timed), reverse=True)  # type: ignore[arg-type]  # timed is there

    def _decide(self) -> Found:
        """The last comparison, all finalists and the package's own variants in turns; and what is kept."""
        material = self._material
        finalists = {each.result.name: each for criterion in GOALS[material.goal] for each in self._ranked(criterion)[:_FINALISTS]}
        earlier = {each.result.name: each for each in self._earlier if each.good}
        finalists |= earlier
        self._progress(f"comparing {len(finalists)} finalists with the package's own variants")
        timed, broken = self._compare([*material.own, *(each.candidate for each in finalists.values() if each.candidate is not None)])
        own = tuple((each, timed[each.variant.name]) for each in material.own if each.variant.name in timed)
        kept: dict[str, Candidate] = {}
        for criterion in GOALS[material.goal]:
            winner = self._winner(criterion, timed, finalists, earlier)
            if winner is not None:
                kept[winner.variant.name] = winner
        pairs = zip(material.earlier, (each.result for each in self._earlier), strict=True)
        settled = settle(pairs, timed, broken, [*(each.variant.name for each, _ in own), *kept])
        results = [*(_own_result(each, measured) for each, measured in own), *settled.results]
        results += [_final(each.result, timed, broken, kept, material.goal, self._workshop.baseline_bytes) for each in self._tried]
        unproven = tuple(each.candidate for each in self._tried if each.result.outcome == "unproven" and each.candidate is not None)
        return Found(results=tuple(results), kept=tuple(kept.values()), own=own, unproven=unproven, earlier=settled)

    def _compare(self, candidates: Sequence[Candidate]) -> tuple[dict[str, Timed], dict[str, str]]:
        """Times of all that can be asked, by variant, and why others cannot. Where one ends the comparison, each is compared alone."""
        self._workshop.close()
        baseline, *others = candidates
        try:
            return self._together(baseline, others), {}
        except AweighError:
            timed: dict[str, Timed] = {}
            broken: dict[str, str] = {}
        for each in others:
            try:
                timed |= self._together(baseline, [each])
            except AweighError as error:
                broken[each.variant.name] = told(error)
        return {**self._together(baseline, []), **timed}, broken

    def _together(self, baseline: Candidate, others: Sequence[Candidate]) -> dict[str, Timed]:
        rounds = [self._once(baseline, others) for _ in range(_FINAL_PROCESSES)]
        return {name: merged([found[name] for found in rounds]) for name in rounds[0]}

    def _once(self, baseline: Candidate, others: Sequence[Candidate]) -> dict[str, Timed]:
        contestants: list[Contestant] = []
        try:
            for each in (baseline, *others):
                contestants.append(self._workshop.contestant(each))  # noqa: PERF401  # those that were started must be ended
            timed = compare(contestants[0], contestants[1:], self._material.batches, seconds=_FINAL_S)
        finally:
            for contestant in contestants:
                contestant.close()
        return {each.variant.name: found for each, found in zip((baseline, *others), timed, strict=True)}

    def _winner(self, criterion: str, timed: dict[str, Timed], finalists: Mapping[str, Tried], earlier: Container[str]) -> Candidate | None:
        """The best of all, where that is none that the package has and surely better than the baseline. Of those that cannot be told from it, one that an earlier search
        kept, else the one that is best in everything that the goal asks for: one variant then serves for all."""
        own = [each.variant.name for each in self._material.own]
        base = timed[own[0]]
        better = [name for name in timed if name in own or _surely(criterion, timed[name], base)]
        best = max(better, key=lambda name: _worth(criterion, timed[name]))
        equal = [name for name in better if not _told_apart(criterion, timed[best], timed[name])]
        criteria = GOALS[self._material.goal]
        if any(name in earlier for name in equal):
            return None
        chosen = max(equal, key=lambda name: math.prod(_times_of(each, timed[name], base) for each in criteria))
        return None if chosen in own else finalists[chosen].candidate


def check_goal(goal: str) -> str:
    """A goal that there is. Raises InvalidInput."""
    if goal not in GOALS:
        raise InvalidInput(f"--for {goal!r} is nothing that a model is made better for", hint=f"one of {', '.join(GOALS)}")
    return goal


def _worth(criterion: str, timed: Timed) -> float:
    """More is better."""
    return -float(timed.size_bytes) if criterion == "size" else _speed(criterion, timed).times


def _speed(criterion: str, timed: Timed) -> Speed:
    return timed.speeds[-1 if criterion == "throughput" else 0]


def _times_of(criterion: str, timed: Timed, base: Timed) -> float:
    """How many times as good as the baseline."""
    return base.size_bytes / max(1, timed.size_bytes) if criterion == "size" else _speed(criterion, timed).times


def _told_apart(criterion: str, best: Timed, other: Timed) -> bool:
    """Whether the other is worse beyond the intervals of both."""
    if criterion == "size":
        return other.size_bytes > best.size_bytes
    return _speed(criterion, other).high < _speed(criterion, best).low


def _surely(criterion: str, timed: Timed, base: Timed) -> bool:
    return timed.size_bytes < base.size_bytes if criterion == "size" else _speed(criterion, timed).better


def _times(each: Tried) -> float:
    return max(speed.times for speed in each.result.timed.speeds) if each.result.timed else 0.0


def _quantisable(candidate: Candidate | None) -> bool:
    return candidate is not None and candidate.composes and candidate.kinds[-1] in _BEFORE_PRECISION


def _dominates(one: Tried, other: Tried) -> bool:
    """Whether one is at least as quick at every size of batch and as small, and better in something."""
    a, b = one.result.timed, other.result.timed
    return a is not None and b is not None and dominates(a, b)


def _own_result(candidate: Candidate, timed: Timed) -> Result:
    return Result(name=candidate.variant.name, passes=(), base=candidate.base, outcome="own", timed=timed, variant=candidate.variant)


def _final(
    result: Result, timed: Mapping[str, Timed], broken: Mapping[str, str], kept: Container[str], goal: str, baseline_bytes: int
) -> Result:
    """As the last comparison has it."""
    if result.name in broken:
        return msgspec.structs.replace(result, outcome="failed", why=broken[result.name])
    measured = timed.get(result.name, result.timed)
    if result.name in kept:
        return msgspec.structs.replace(result, outcome="kept", timed=measured)
    if result.outcome == "beaten" and measured is not None and not worthwhile(measured, goal, baseline_bytes):
        return msgspec.structs.replace(result, outcome="slower", timed=measured, why=slower_words(measured, goal))
    return msgspec.structs.replace(result, timed=measured)
