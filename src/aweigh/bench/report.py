"""The whole of a load test: what was asked of whom, every run, the capacity, the gates, and what must be said beside the figures."""

from collections.abc import Sequence

import msgspec

from aweigh.bench.capacity import Capacity, Sizing
from aweigh.bench.gates import Verdict
from aweigh.bench.plan import Load
from aweigh.bench.result import Measurement, document
from aweigh.bench.server import ModelFacts, ServerFacts
from aweigh.core.evidence import Machine

OPEN_METHOD = (
    "open loop: latency is counted from when each request was due, so what waits behind a stall counts too (coordinated omission handled)"
)
CLOSED_METHOD = (
    "closed loop: each user waits for its answer before it asks again, so a slow server is asked less and the requests that would have "
    "waited are not seen (coordinated omission); compare throughput, and use --rate for latency"
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent."""

    requests: int
    """Different ones, asked in turn."""
    source: str
    """Where they come from, in words."""
    body_bytes: int
    """Of the largest."""
    checked: str = ""
    """What answers are compared with, if they are."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """See the module."""

    url: str
    dialect: str
    model: ModelFacts
    server: ServerFacts
    asked: Asked
    generator: str
    """Name and version of the generator."""
    started_at: str
    same_machine: bool
    machine: Machine
    """Of the generator."""
    load_before: float
    """The machine's load average over the last minute, before the test."""
    runs: tuple[Measurement, ...]
    objective: str = ""
    """What the capacity is held to."""
    capacity: Capacity | None = None
    sizing: Sizing | None = None
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate passed and anything was answered at all."""
        return all(verdict.passed for verdict in self.verdicts) and any(run.answered_per_s for run in self.runs)


def report_document(report: Report) -> dict[str, object]:
    """The form of `--json`; stable: fields may be added."""
    made: dict[str, object] = msgspec.to_builtins(msgspec.structs.replace(report, runs=()))
    runs = [{"method": method(run.load), **document(run)} for run in report.runs]
    return {"format": "aweigh-bench-1", **made, "runs": runs, "passed": report.passed}


def method(load: Load) -> str:
    """How latency was measured, in words that belong beside any figure of it."""
    return OPEN_METHOD if load.is_open else CLOSED_METHOD


def surroundings(*, same_machine: bool, machine: Machine, load_before: float, made_up: bool, loads: Sequence[Load]) -> tuple[str, ...]:
    """What must be said whatever the figures are."""
    notes = []
    if same_machine:
        notes.append(
            f"generator and server share this machine's {machine.cores} cores: the one's work slows the other; for figures to rely on, "
            "run the generator elsewhere"
        )
    if load_before > machine.cores / 2:
        notes.append(f"the machine was busy before the test: load average {load_before:.1f} on {machine.cores} cores")
    if made_up:
        notes.append("requests are made up from the model's metadata; real ones (--data) may be dearer or cheaper")
    if any(0 < load.warmup_s < 0.5 or load.warmup_s == 0 for load in loads):
        notes.append("there was hardly a warm-up: first connections and first calls are in the figures")
    return tuple(notes)
