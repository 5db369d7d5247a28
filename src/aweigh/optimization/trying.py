"""One candidate, from the pass to its figures: made, proven, held against the budget, timed beside the baseline. Never raises for what a pass or its outcome does."""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from aweigh.core.errors import AweighError, DeadlineExceeded, MissingLibrary, Unsupported
from aweigh.optimization.candidates import Candidate, derived, digests_of, form_key, key_of, name_of, step_of
from aweigh.optimization.journal import Journal
from aweigh.optimization.judging import Judge, Proof
from aweigh.optimization.making import load_pass, made_with, make_pass
from aweigh.optimization.material import Material
from aweigh.optimization.passing import Need, PassJob, Way
from aweigh.optimization.report import Outcome, Result
from aweigh.optimization.timing import Contestant, Timed, compare

_SAID: Final = 400
_SEARCH_S: Final = 0.6
"""Of each size of batch and each of the two that are timed, while searching."""

_TRAINING: Final = frozenset({Need.TRAINING, Need.SOURCE, Need.STUDENT})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A result, and the candidate to go on from where it came about."""

    result: Result
    candidate: Candidate | None = None

    @property
    def good(self) -> bool:
        """Whether it is proven, or within the budget, however fast."""
        return self.candidate is not None and self.result.outcome in {"beaten", "slower"}


class Workshop:
    """Tries candidates of one search."""

    def __init__(self, material: Material, journal: Journal) -> None:
        self.material = material
        self.judge = Judge(material)
        self._journal = journal
        self._baseline: Contestant | None = None
        self._keys: dict[str, str] = {}
        """Of candidates that were made here, by their names."""

    def close(self) -> None:
        """End the baseline's process."""
        if self._baseline is not None:
            self._baseline.close()
            self._baseline = None

    def ways(self, parent: Candidate, name: str) -> Sequence[Way]:
        """Raises Unsupported, saying why there is none."""
        return load_pass(name).ways(self._job(parent, name, Way(name=""), Path()))

    def refusal(self, parent: Candidate, step: str, outcome: Outcome, why: str, seconds: float = 0.0) -> Result:
        """Of a candidate that did not come about."""
        name, passes = " + ".join(self.words(parent, step)), (*parent.chain, step)
        return Result(name=name, passes=passes, base=parent.base, outcome=outcome, why=why[:_SAID], seconds=seconds)

    def words(self, parent: Candidate, step: str) -> tuple[str, ...]:
        """What tells a candidate from all others: what is done to make it and, where it begins at another variant than the baseline, at which."""
        begun = () if parent.base == self.material.baseline.base else (parent.base,)
        return (*begun, *parent.chain, step)

    def try_way(self, parent: Candidate, name: str, way: Way, *, until: float = math.inf) -> Tried:
        """Make and measure one candidate, or take what an earlier search found of it; where another search is at it, wait for that until `until` (monotonic seconds)."""
        began, step = monotonic(), step_of(name, way)
        key = self.key(parent, name, way)
        waits = partial(self.material.shop.progress, f"waiting for another search, which is at work on '{step}'")
        with contextlib.ExitStack() as turn:
            try:
                folder = turn.enter_context(self._journal.in_turn(key, until=until, waits=waits))
            except DeadlineExceeded as error:
                return Tried(result=self.refusal(parent, step, "untried", error.message, monotonic() - began))
            known = self._journal.found(key)
            if known is not None:
                return Tried(result=self._judged_anew(known), candidate=self._again(known, parent, name))
            declared = load_pass(name).declares
            try:
                made = make_pass(name, self._job(parent, name, way, folder), self.material.shop)
            except AweighError as error:
                outcome: Outcome = "refused" if isinstance(error, Unsupported | MissingLibrary) else "failed"
                result = self.refusal(parent, step, outcome, told(error), monotonic() - began)
                if not isinstance(error, MissingLibrary):  # another machine, or a minute later, may have it
                    self._journal.keep(key, result)
                return Tried(result=result)
            candidate = derived(parent, step, name_of(self.words(parent, step)), made, declared=declared)
            if declared.elsewhere:
                found = self._of(candidate, "unproven", f"it runs on {declared.elsewhere} alone: kept without evidence", began)
            else:
                found, candidate = self.assess(candidate, began)
            self._journal.keep(key, found)
            return Tried(result=found, candidate=candidate)

    def assess(self, candidate: Candidate, began: float) -> tuple[Result, Candidate]:
        """Prove, judge and time a candidate whose files are there."""
        try:
            proof = self.judge.prove(candidate)
        except AweighError as error:
            return self._of(candidate, "failed", told(error), began), candidate
        candidate = proof.candidate
        if not proof.evidence.passed:
            return self._of(candidate, "outside" if proof.outside else "failed", proof.why, began, proof=proof), candidate
        try:
            timed = self._time(candidate)
        except AweighError as error:
            return self._of(candidate, "failed", f"it cannot be timed: {told(error)}", began, proof=proof), candidate
        bound = self.material.device.memory_bytes
        if bound and timed.memory_bytes > bound:
            why = f"it takes {timed.memory_bytes} bytes of memory, the device has {bound}"
            return self._of(candidate, "outside", why, began, proof=proof, timed=timed), candidate
        return self._judged_anew(self._of(candidate, "beaten", "", began, proof=proof, timed=timed)), candidate

    def _judged_anew(self, result: Result) -> Result:
        """Whether it is worth keeping hangs on what the search is for, and not on the candidate: a search for something else may have timed it."""
        if result.timed is None or result.outcome not in {"beaten", "slower"}:
            return result
        goal = self.material.goal
        better = worthwhile(result.timed, goal, self.baseline_bytes)
        why = "" if better else slower_words(result.timed, goal)
        return msgspec.structs.replace(result, outcome="beaten" if better else "slower", why=why)

    @property
    def baseline_bytes(self) -> int:
        """Of the baseline's files."""
        return sum(self.material.baseline.files[file].stat().st_size for file in self.material.baseline.variant.files)

    def contestant(self, candidate: Candidate) -> Contestant:
        """The candidate in a process of its own, ready to be timed."""
        material = self.material
        caps = msgspec.structs.replace(material.shop.caps, threads=material.device.threads)
        files = {file: candidate.files[file] for file in candidate.variant.bare().files}
        return Contestant(candidate.variant.bare(), material.inner, files, caps=caps, environments=material.shop.environments)

    def _time(self, candidate: Candidate) -> Timed:
        if self._baseline is None:
            self._baseline = self.contestant(self.material.baseline)
        other = self.contestant(candidate)
        try:
            return compare(self._baseline, [other], self.material.batches, seconds=_SEARCH_S)[1]
        except AweighError:
            self.close()  # whichever of the two it was: the next pair begins anew
            raise
        finally:
            other.close()

    def _job(self, parent: Candidate, name: str, way: Way, folder: Path) -> PassJob:
        material, training = self.material, self.material.training
        return PassJob(
            variant=msgspec.structs.replace(parent.variant.bare(), evidence=None),
            files=parent.bare_files(),
            signature=material.inner,
            folder=str(folder),
            way=way,
            device=material.device,
            calibration=str(material.calibration or ""),
            agreement=material.budget.agreement,
            measure=material.budget.measure,
            source=training.source,
            factory=training.factory,
            train=training.train,
            student=training.student,
            paths=training.paths,
            time_s=material.shop.caps.timeout_s,
        )

    def key(self, parent: Candidate, name: str, way: Way) -> str:
        """By which what is found of a candidate is kept. Raises StoreUnavailable where a file of the parent is gone."""
        if not parent.key and parent.variant.name not in self._keys:
            self._keys[parent.variant.name] = form_key(parent, digests_of(parent))
        return key_of(parent.key or self._keys[parent.variant.name], name, way, self._decides(name))

    def _decides(self, name: str) -> dict[str, object]:
        """What a candidate depends on beside its pass: with other training code, what no pass of training made is still what it was."""
        material, needs = self.material, load_pass(name).declares.needs
        return {
            "baseline": material.baseline.key,
            "libraries": made_with(name),
            "time_s": material.shop.caps.timeout_s,
            "calibration": material.calibration_digest,
            "budget": material.budget.text,
            "device": msgspec.to_builtins(material.device),
            "training": material.training.digest if needs & _TRAINING else "",
            "batches": sorted(material.batches),
        }

    def _of(
        self, candidate: Candidate, outcome: Outcome, why: str, began: float, *, proof: Proof | None = None, timed: Timed | None = None
    ) -> Result:
        return Result(
            name=candidate.variant.name,
            passes=candidate.chain,
            base=candidate.base,
            outcome=outcome,
            why=why[:_SAID],
            notes=candidate.notes,
            judged=proof.judged if proof else (),
            unseen=proof.unseen if proof else (),
            figures=proof.figures if proof else {},
            timed=timed,
            seconds=monotonic() - began,
            variant=candidate.variant,
            files={file: str(place) for file, place in candidate.files.items()},
        )

    def _again(self, known: Result, parent: Candidate, name: str) -> Candidate | None:
        """The candidate of a result that was kept."""
        if known.variant is None:
            return None
        declared = load_pass(name).declares
        return Candidate(
            variant=known.variant,
            files={file: Path(place) for file, place in known.files.items()},
            base=known.base,
            chain=known.passes,
            kinds=(*parent.kinds, declared.kind),
            departs=known.variant.departure is not None,
            composes=declared.composes,
            notes=known.notes,
        )


def told(error: AweighError) -> str:
    """What went wrong, and the next step, in no more than a report has room for."""
    hint = f"; {error.hint}" if error.hint else ""
    return error.message[: max(_SAID - len(hint), 0)] + hint


def worthwhile(timed: Timed, goal: str, baseline_bytes: int) -> bool:
    """Whether it is better than the baseline in something that the goal asks for, beyond the interval of what was measured."""
    if goal in {"size", "edge", "mobile"} and timed.size_bytes < baseline_bytes:
        return True
    counted = timed.speeds[:1] if goal == "latency" else timed.speeds[-1:] if goal == "throughput" else timed.speeds
    return goal != "size" and any(speed.better for speed in counted)


def slower_words(timed: Timed, goal: str) -> str:
    """How fast it is, for whom it was not fast enough."""
    told = ", ".join(f"{speed.times:.2f} times at {speed.at}" for speed in timed.speeds)
    return f"not {'smaller' if goal == 'size' else 'faster'} than the baseline: {told}"
