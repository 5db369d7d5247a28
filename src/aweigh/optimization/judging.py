"""Whether a candidate may be kept: one that keeps its answers is held to the source's golden set and its answers to all rows, one that departs to the budget and, from then on, to its own answers."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from aweigh.core.agreement import compare_answers
from aweigh.core.evidence import NOT_GATING, Check, Evidence
from aweigh.core.golden import GoldenAnswers
from aweigh.core.protocols import Session
from aweigh.core.tensors import Tensor
from aweigh.optimization.budget import Figure, Judged, check_measured, judge
from aweigh.optimization.candidates import Candidate, departure
from aweigh.optimization.material import Material, ask_all
from aweigh.runtimes.finite import finite_rows

_SAID: Final = 160
_OWN_ROWS: Final = 64
"""Rows of each case of a variant's own golden set."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found of a candidate, which now has its evidence and, where it departs, says how."""

    candidate: Candidate
    evidence: Evidence
    judged: tuple[Judged, ...] = ()
    unseen: tuple[Judged, ...] = ()
    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)

    @property
    def outside(self) -> bool:
        """Whether the budget is what it failed."""
        return any(not each.passed for each in (*self.judged, *self.unseen))

    @property
    def why(self) -> str:
        """What it failed, in words."""
        failed = [each for each in (*self.judged, *self.unseen) if not each.passed]
        if failed:
            return "; ".join(dict.fromkeys(f"{each.condition}: found {each.told}, needed {each.limit:.4g}" for each in failed))
        checks = [check for check in self.evidence.checks if not check.passed and check.name not in NOT_GATING]
        return "; ".join(f"{check.name} failed{f': {check.note}' if check.note else ''}" for check in checks)


class Judge:
    """Of one search. `source` are the baseline's answers to all rows, `figures` the budget's metrics of them. Raises InvalidSetting for a metric without a figure."""

    def __init__(self, material: Material) -> None:
        self._material = material
        session = self._load(material.baseline)
        try:
            self.source: Sequence[Tensor] = ask_all(session, material.signature, material.rows)
        finally:
            session.close()
        self.figures = material.measure(self.source, self.source, material.split.judged)
        self._searched = material.measure(self.source, self.source, material.split.searched)
        for figures in (self.figures, self._searched):
            check_measured(material.budget, figures)

    def prove(self, candidate: Candidate) -> Proof:
        """One that should answer as the source does, to the golden set and to all rows, and does not may still keep the budget. Raises what loading and asking the candidate raise."""
        material = self._material
        if candidate.departs:
            return self._within_budget(candidate)
        evidence = material.prove(candidate.variant, material.signature, material.golden, candidate.files)
        loaded = evidence.passed or evidence.check("parity") is not None
        if evidence.passed:
            check = self._on_all_rows(candidate)
            evidence = msgspec.structs.replace(evidence, checks=(*evidence.checks, check), passed=check.passed)
        proof = Proof(candidate=_with(candidate, evidence), evidence=evidence)
        if evidence.passed or material.budget.exact or not loaded:
            return proof
        note = f"it does not answer as the source does ({proof.why[:_SAID]}), and is held to the budget"
        return self._within_budget(dataclasses.replace(candidate, departs=True, notes=(*candidate.notes, note)))

    def _on_all_rows(self, candidate: Candidate) -> Check:
        """Whether it answers all rows as the source does, within the signature's tolerances."""
        material = self._material
        session = self._load(candidate)
        try:
            answers = ask_all(session, material.signature, material.rows)
        finally:
            session.close()
        found = compare_answers(material.signature, self.source, answers)
        rows = material.signature.batch_size(material.rows)
        bad = min(rows, len(found.bad_rows))
        worst = {
            f"{output.name}.max_abs": output.max_abs if math.isfinite(output.max_abs) else None
            for output in found.outputs
            if not output.exact
        }
        return Check(
            name="rows",
            passed=found.agrees,
            figures={"rows": float(rows), "answered otherwise": float(bad), **worst},
            note="" if found.agrees else f"{bad} of {rows} rows are answered otherwise",
        )

    def _within_budget(self, candidate: Candidate) -> Proof:
        material, rows = self._material, self._material.split
        departs = departure(candidate, material.budget.text, material.signature)
        candidate = dataclasses.replace(candidate, variant=msgspec.structs.replace(candidate.variant, departure=departs))
        session = self._load(candidate)
        try:
            answers = ask_all(session, material.signature, material.rows)
            own = self._own_golden(session)
        finally:
            session.close()
        figures = material.measure(answers, self.source, rows.judged)
        judged = tuple(judge(material.budget, self._searched, material.measure(answers, self.source, rows.searched)))
        unseen = tuple(judge(material.budget, self.figures, figures))
        evidence = material.prove(candidate.variant, departs.held(material.signature), own, candidate.files)
        check = _budget_check((*judged, *unseen), figures, len(rows.judged))
        evidence = msgspec.structs.replace(evidence, checks=(check, *evidence.checks), passed=evidence.passed and check.passed)
        return Proof(candidate=_with(candidate, evidence), evidence=evidence, judged=judged, unseen=unseen, figures=figures)

    def own_golden(self, candidate: Candidate) -> list[GoldenAnswers]:
        """The golden set's finite rows, with the candidate's own answers."""
        session = self._load(candidate)
        try:
            return self._own_golden(session)
        finally:
            session.close()

    def _own_golden(self, session: Session) -> list[GoldenAnswers]:
        material = self._material
        floats = [spec.name for spec in material.signature.inputs if spec.datatype.is_float]
        found = []
        for case in material.golden:
            inputs = case.inputs
            if material.signature.batched:
                kept = finite_rows(inputs, floats).nonzero()[0][:_OWN_ROWS]
                inputs = {name: tensor[kept] for name, tensor in inputs.items()}
                whole = len(kept) > 0
            else:
                whole = bool(finite_rows({name: tensor[None] for name, tensor in inputs.items()}, floats).all())
            if whole:
                found.append(GoldenAnswers(name=case.name, why=case.why, inputs=inputs, outputs=session.run(inputs)))
        return found

    def _load(self, candidate: Candidate) -> Session:
        return self._material.load(candidate.variant, candidate.files)


def _with(candidate: Candidate, evidence: Evidence) -> Candidate:
    return dataclasses.replace(candidate, variant=msgspec.structs.replace(candidate.variant, evidence=evidence))


def _budget_check(judged: Sequence[Judged], figures: dict[str, Figure], rows: int) -> Check:
    told: dict[str, float | None] = {"rows": float(rows)}
    for name, figure in figures.items():
        told |= {name: figure.value, f"{name}.low": figure.low, f"{name}.high": figure.high}
    return Check(
        name="budget",
        passed=all(each.passed for each in judged),
        figures=told,
        limits={each.metric: each.limit for each in judged},
        note="; ".join(dict.fromkeys(each.condition for each in judged)),
    )
