"""What becomes of variants that an earlier search kept."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aweigh.core.evidence import Check, Evidence, Machine, Strength
from aweigh.core.package import Departure, Variant
from aweigh.optimization.budget import Budget
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.earlier import dominates, held_again, settle, with_passes
from aweigh.optimization.passing import Kind
from aweigh.optimization.report import Outcome, Result
from aweigh.optimization.timing import Speed, Timed


def timed(one: float, many: float, size: int) -> Timed:
    speeds = tuple(
        Speed(rows=rows, p50_us=1, p99_us=1, rows_per_s=1, cpu_s_per_1000=1, times=times, low=times, high=times)
        for rows, times in ((1, one), (64, many))
    )
    return Timed(speeds=speeds, load_ms=1, memory_bytes=1, size_bytes=size)


def earlier(name: str, outcome: Outcome, **more: Any) -> tuple[Candidate, Result]:
    candidate = Candidate(variant=Variant(name=name, runtime="onnxruntime", precision="int8"), files={}, base="onnx", chain=(name,))
    return candidate, Result(name=name, passes=(name,), base="onnx", outcome=outcome, **more)


TIMES = {
    "onnx": timed(1, 1, 1000),
    "new": timed(3, 1, 500),
    "small": timed(0.5, 0.5, 100),
    "quick": timed(2, 4, 600),
    "worse": timed(2, 1, 500),
}


def test_what_is_better_in_something_stays_whatever_the_search_is_for() -> None:
    pairs = [earlier("small", "slower"), earlier("quick", "beaten"), earlier("worse", "beaten")]
    found = settle(pairs, TIMES, {}, ["onnx", "new"])
    assert [candidate.variant.name for candidate, _ in found.stays] == ["small", "quick"]
    assert [(result.name, result.outcome, result.why) for result in found.goes] == [("worse", "beaten", "'new' is as quick and as small")]
    assert [result.outcome for result in found.results] == ["own", "own", "beaten"]
    assert found.results[0].timed == TIMES["small"]


def test_of_two_alike_both_stay() -> None:
    pairs = [earlier("a", "beaten"), earlier("b", "beaten")]
    assert len(settle(pairs, {"onnx": TIMES["onnx"], "a": TIMES["quick"], "b": TIMES["quick"]}, {}, ["onnx"]).stays) == 2
    assert not dominates(TIMES["quick"], TIMES["quick"])


def test_what_leaves_the_budget_goes_and_what_could_not_be_asked_is_left_alone() -> None:
    pairs = [
        earlier("outside", "outside", why="too far"),
        earlier("failed", "failed", why="no memory"),
        earlier("quick", "beaten"),
    ]
    times = {name: each for name, each in TIMES.items() if name != "quick"}
    found = settle(pairs, times, {"quick": "it died"}, ["onnx"])
    assert [result.name for result in found.goes] == ["outside"]
    assert found.stays == ()
    assert [result.why for result in found.results] == ["too far", "no memory; it stays as it was", "it died; it stays as it was"]


@pytest.mark.parametrize(
    ("checks", "departs", "goes"),
    [
        ({"parity": True, "rows": True}, False, False),
        ({"parity": True, "rows": False}, False, True),
        ({"parity": False}, False, True),
        ({"budget": True, "parity": True}, True, True),
        ({"parity": True, "batch-invariance": False}, False, False),
    ],
)
def test_one_that_should_answer_as_the_source_does_and_does_not_goes(checks: dict[str, bool], *, departs: bool, goes: bool) -> None:
    """It says that it departs from nothing: the engine would hold it to no budget."""
    candidate, result = earlier("threads", "beaten")
    machine = Machine(system="", architecture="", processor="", cores=1)
    evidence = Evidence(
        strength=Strength.FULL, data="", checks=tuple(Check(name=name, passed=passed) for name, passed in checks.items()), passed=all(checks.values()), made_at="",
        machine=machine,
    )  # fmt: skip
    departure = Departure(base="onnx", passes=("threads",), keep="accuracy >= 99%") if departs else None
    judged = dataclasses.replace(candidate, variant=msgspec.structs.replace(candidate.variant, evidence=evidence, departure=departure))
    material = SimpleNamespace(budget=Budget(text="exact"))
    workshop = SimpleNamespace(material=material, assess=lambda *_: (result, judged))
    tried = held_again(workshop, candidate)  # type: ignore[arg-type]  # what it asks of a workshop
    assert (tried.result.outcome == "outside") == goes
    assert tried.good != goes
    refused = held_again(workshop, dataclasses.replace(candidate, departs=True))  # type: ignore[arg-type]  # what it asks of a workshop
    assert refused.result.outcome == "refused"


def test_an_earlier_variant_is_gone_on_from_as_its_passes_left_it() -> None:
    candidate, _ = earlier("int8-static", "beaten")
    found = with_passes(dataclasses.replace(candidate, chain=("onnxslim", "int8-static (entropy)")))
    assert found.kinds == (Kind.REWRITE, Kind.PRECISION)
    assert found.composes
    assert not with_passes(dataclasses.replace(candidate, chain=("a-pass-of-another-plug-in",))).composes
