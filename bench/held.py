"""Whether an objective is held: the server that tunes itself to it beside fixed batch sizes, under an open loop below and above what it can do.

Called by `compute.py`. An answer counts that comes in time; p99 is of what was answered, from when each request was due.
"""

import dataclasses
import json
import statistics
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.peers import aweigh
from bench.peers.peer import Peer, Started
from bench.processes import BenchError
from bench.workload import Workload

LOADS: Final = (0.7, 1.4)
"""Of what the server gave in a closed loop: as planned, and a rush."""
_ROWS_IN_TIME: Final = 40
"""The objective is the time in which the server answers so many requests, rounded up: dear models have longer ones."""
_STEP_MS: Final = 10
_PERCENTILE: Final = 99
TUNED: Final = "tuned"
_AS_GOOD: Final = 0.9
"""A fixed setting is no better that gives the tuned one's answers in time but for this share: rounds spread."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run of one setting. Rates are per second."""

    offered: float
    answered: float
    in_time: float
    refused: float
    p99_ms: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One model: its objective, and the rounds by setting and load."""

    model: str
    objective_ms: int
    capacity: float
    outcomes: Mapping[str, Mapping[str, tuple[Outcome, ...]]]
    """By setting, then by load."""
    decided: Mapping[str, Mapping[str, Any]]

    def p99_ms(self, setting: str, load: str) -> float:
        return statistics.median(outcome.p99_ms for outcome in self.outcomes[setting][load])

    def in_time(self, setting: str, load: str) -> float:
        return statistics.median(outcome.in_time for outcome in self.outcomes[setting][load])


def settings(objective_ms: int) -> dict[str, tuple[str, str]]:
    """The one setting that differs and its value, by the name that it has here."""
    return {
        TUNED: ("AWEIGH_OBJECTIVE", f"p{_PERCENTILE} <= {objective_ms}ms"),
        "1 row": ("AWEIGH_MAX_BATCH_ROWS", "1"),
        "64 rows": ("AWEIGH_MAX_BATCH_ROWS", "64"),
    }


def measure(workload: Workload, capacity: float, rounds: int, seconds: int, folder: Path, say: Callable[[str], None]) -> Test:
    """One server at a time, as each needs all cores; a round asks each at each load."""
    objective_ms = max(_STEP_MS, round(_ROWS_IN_TIME / capacity * 1e3 / _STEP_MS + 0.5) * _STEP_MS)
    outcomes: dict[str, dict[str, list[Outcome]]] = {name: {f"{load:g}": [] for load in LOADS} for name in settings(objective_ms)}
    told: dict[str, Mapping[str, Any]] = {}
    for at in range(rounds):
        for name, setting in settings(objective_ms).items():
            with _peer(name, setting).start(workload, folder) as server:
                for load in LOADS:
                    outcome = _outcome(server, workload, load * capacity, objective_ms, seconds, folder)
                    outcomes[name][f"{load:g}"].append(outcome)
                    say(f"{workload.model} objective round {at + 1}, {name}, {load:g} of capacity: {outcome}")
                told[name] = decided(server.rest_url, workload.model)
    found = {name: {load: tuple(each) for load, each in loads.items()} for name, loads in outcomes.items()}
    return Test(model=workload.model, objective_ms=objective_ms, capacity=capacity, outcomes=found, decided=told)


def decided(url: str, model: str) -> dict[str, Any]:
    """What the server says of executor and batches in the model's configuration."""
    with urllib.request.urlopen(f"{url}/v2/models/{model}/config", timeout=10) as answer:
        said = json.load(answer)["parameters"]
    names = ("executor", "batch_rows", "batch_reason", "batch_limit_rows")
    return {name: said[name]["string_value"] for name in names if name in said}


def _peer(name: str, setting: tuple[str, str]) -> Peer:
    about = f"`aweigh serve` with {'='.join(setting)}"
    return Peer(name=f"aweigh-{name.replace(' ', '-')}", command=aweigh.serve, one_port=True, about=about, environment=(setting,))


def _outcome(server: Started, workload: Workload, rate: float, objective_ms: int, seconds: int, folder: Path) -> Outcome:
    """An open loop of Poisson arrivals over gRPC, as `aweigh bench` makes it."""
    rows = folder / f"{workload.model}.npz"
    np.savez(rows, **workload.inputs)
    url = f"grpc://{server.rest_url.removeprefix('http://')}/{workload.model}"
    load = ["--rate", f"{rate:.1f}", "--duration", f"{seconds}s", "--warmup", "2s", "--data", str(rows), "--json"]
    gate = ["--require", f"p{_PERCENTILE} <= {objective_ms}ms"]
    command = [aweigh.command(), "bench", url, *load, *gate]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"aweigh bench did not end: {' '.join(command)}") from error
    if not done.stdout.startswith("{"):
        raise BenchError(f"aweigh bench: {done.stderr.strip()[-600:]}")
    return _read(json.loads(done.stdout), objective_ms)


def _read(document: Mapping[str, Any], objective_ms: int) -> Outcome:
    run = document["runs"][0]
    seconds, latency, errors = run["load"]["duration_s"], run["latency"], sum(run["errors"].values())
    answered = run["answered_per_s"]
    known = {0.0: latency["min_ms"], 100.0: latency["max_ms"]}
    known |= {float(name.removeprefix("p")): value for name, value in latency["percentiles_ms"].items()}
    return Outcome(
        offered=run["scheduled"] / seconds,
        answered=answered,
        in_time=answered * share_within(known, objective_ms),
        refused=errors / seconds,
        p99_ms=known[99.0],
    )


def share_within(percentiles_ms: Mapping[float, float], limit_ms: float) -> float:
    """The share of answers within a time, between the percentiles that are known as on a line."""
    known = sorted(percentiles_ms.items())
    if limit_ms < known[0][1]:
        return 0.0
    return float(np.interp(limit_ms, [value for _, value in known], [percentile for percentile, _ in known])) / 100


def text(test: Test) -> str:
    """A line for each setting and load."""
    rows = [
        f"p{_PERCENTILE} <= {test.objective_ms} ms, open loop with Poisson arrivals, {test.capacity:,.0f} requests/s is what a closed loop got",
        f"  {'setting':<10}{'offered':>9}{'answered':>10}{'in time':>9}{'refused':>9}{'p99 ms':>9}",
    ]
    for name, loads in test.outcomes.items():
        for load in loads:
            figures = [
                statistics.median(getattr(outcome, field) for outcome in loads[load])
                for field in ("offered", "answered", "in_time", "refused")
            ]
            held = "held" if test.p99_ms(name, load) <= test.objective_ms else "not held"
            spaced = "".join(f"{figure:>{width}.0f}" for figure, width in zip(figures, (9, 10, 9, 9), strict=True))
            rows.append(f"  {name:<10}{spaced}{test.p99_ms(name, load):>9.0f}  {held}")
    rows.append(f"  decided: {json.dumps(test.decided[TUNED])}")
    return "\n".join(rows)


def missed(test: Test) -> list[str]:
    """Where the tuned server did not hold its objective; and where a fixed setting held it with more answers in time, so that tuning was for nothing."""
    found = []
    for load in test.outcomes[TUNED]:
        where = f"{test.model}, {load} of its capacity"
        if test.p99_ms(TUNED, load) > test.objective_ms:
            found.append(f"{where}: p99 {test.p99_ms(TUNED, load):.0f} ms, {test.objective_ms} ms is the objective")
        best = max((test.in_time(name, load) for name in test.outcomes if name != TUNED), default=0.0)
        if test.in_time(TUNED, load) < _AS_GOOD * best:
            found.append(f"{where}: {test.in_time(TUNED, load):.0f} answers/s in time, a fixed setting gives {best:.0f}")
    return found
