"""Interleaved rounds: every server is loaded in every round, in alternating order, so that drift of the machine hits all alike."""

import contextlib
import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.loads import LOADS
from bench.loads.load import Load, Sample
from bench.peers.peer import Peer, Started
from bench.workload import Workload


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int
    warm_up_s: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One server under one load, all rounds. Ratios are to the first server, round by round."""

    server: str
    per_second: float
    fastest: float
    slowest: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_thousand: float
    memory_mb: float
    ratios: tuple[float, ...]
    samples: tuple[Sample, ...]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All servers under one load."""

    load: str
    title: str
    lines: tuple[Line, ...]
    targets: Mapping[str, float]
    """The least ratio to the base, by server."""


def measure(peers: Sequence[Peer], workload: Workload, plan: Plan, folder: Path, say: Callable[[str], None]) -> list[Table]:
    """Start all servers, check their answers, and load one at a time. Raises BenchError."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(peer.start(workload, folder)) for peer in peers]
        return [_table(name, load, started, workload, plan, folder, say) for name, load in LOADS.items()]


def _table(
    name: str, load: Load, started: list[Started], workload: Workload, plan: Plan, folder: Path, say: Callable[[str], None]
) -> Table:
    for server in started:
        load.measure(server, workload, plan.warm_up_s, folder)
    samples: list[list[Sample]] = [[] for _ in started]
    for at in range(plan.rounds):
        order = range(len(started)) if at % 2 == 0 else reversed(range(len(started)))
        for which in order:
            server = started[which]
            before = server.process.cpu_s()
            sample = load.measure(server, workload, plan.seconds, folder)
            samples[which].append(dataclasses.replace(sample, cpu_s=server.process.cpu_s() - before))
            say(f"{name} round {at + 1}/{plan.rounds} {server.peer.name}: {samples[which][-1].per_second:,.0f} requests/s")
    lines = []
    for server, mine in zip(started, samples, strict=True):
        speed = statistics.median(sample.per_second for sample in mine)
        latency = load.latency(server, workload, speed, folder) if load.latency else None
        lines.append(line(server.peer.name, mine, samples[0], latency, server.process.memory_mb()))
    return Table(load=name, title=load.title(workload), targets={"aweigh": workload.targets[name]}, lines=tuple(lines))


def line(server: str, samples: Sequence[Sample], base: Sequence[Sample], latency: tuple[float, float] | None, memory_mb: float) -> Line:
    """Sum up the rounds of one server; medians, as single rounds spread."""
    speeds = [sample.per_second for sample in samples]
    return Line(
        server=server,
        per_second=statistics.median(speeds),
        fastest=max(speeds),
        slowest=min(speeds),
        p50_ms=latency[0] if latency else statistics.median(sample.p50_ms for sample in samples),
        p99_ms=latency[1] if latency else statistics.median(sample.p99_ms for sample in samples),
        cpu_ms_per_thousand=statistics.median(sample.cpu_ms_per_thousand for sample in samples),
        memory_mb=memory_mb,
        ratios=tuple(mine.per_second / theirs.per_second for mine, theirs in zip(samples, base, strict=True)),
        samples=tuple(samples),
    )
