"""aweigh beside its peers in one scenario: every door, every concurrency, interleaved rounds. Called by `python -m bench --peers`.

A server that cannot be installed, started or asked is written down with the reason. Must never leave one out.
"""

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bench import environments, session
from bench.document import BASE, Cell, Document, Sample, Server
from bench.loads import LOADS
from bench.loads.load import output_of
from bench.peers import ONE_WORKER, TWO_CORES
from bench.peers.aweigh import packed
from bench.peers.peer import Peer, Started
from bench.processes import BenchError, Running
from bench.rounds import Plan
from bench.workload import Workload

CONCURRENCY: Final = (1, 8, 32, 128)
TWO_CORES_CONCURRENCY: Final = (32,)
QUIET: Final = 0.3
"""A server that uses less of a core than this has answered what was asked of it; Ray is never at rest."""
QUIET_LIMIT_S: Final = 30.0
SESSION: Final = "session"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What is compared: which servers, how many requests in flight, over which doors."""

    plan: Plan
    concurrency: tuple[int, ...] = CONCURRENCY
    doors: tuple[str, ...] = ("rest", "grpc")
    only: tuple[str, ...] = ()
    """Servers by name; none: all of the scenario."""

    @property
    def whole(self) -> bool:
        every = {peer.name for peer in ONE_WORKER if peer.name != f"{BASE}-unbatched"}
        return not (self.only and every - set(self.only)) and self.concurrency == CONCURRENCY and set(self.doors) == set(LOADS)

    def groups(self) -> list[tuple[Sequence[Peer], tuple[int, ...], int]]:
        """Servers that run at the same time, their concurrency, the cores each may use."""
        two = tuple(c for c in self.concurrency if c in TWO_CORES_CONCURRENCY)
        found = [(self._chosen(ONE_WORKER), self.concurrency, 1)]
        if two:
            found.append((self._chosen(TWO_CORES), two, 2))
        return [(peers, concurrency, cores) for peers, concurrency, cores in found if peers]

    def _chosen(self, peers: Sequence[Peer]) -> list[Peer]:
        return [peer for peer in peers if not self.only or peer.name in self.only]


def measure(
    scenario: str, workload: Workload, matrix: Matrix, folder: Path, machine: Mapping[str, object], say: Callable[[str], None]
) -> Document:
    """Everything of one scenario."""
    if workload.home is None and any(peer.name.startswith(BASE) for peers, _, _ in matrix.groups() for peer in peers):
        try:
            workload = packed(workload, folder)
        except BenchError as error:
            say(f"{error}; aweigh packs as it starts")
    cells = [_session(workload, matrix.plan, folder, say)]
    servers: dict[str, Server] = {}
    for peers, concurrency, cores in matrix.groups():
        cells += _group(peers, workload, dataclasses.replace(matrix, concurrency=concurrency), folder, say)
        servers |= {peer.name: _described(peer, cores) for peer in peers}
    return Document(
        scenario=scenario,
        title=workload.title,
        form=workload.form,
        whole=matrix.whole,
        at=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        rounds=matrix.plan.rounds,
        seconds=matrix.plan.seconds,
        machine=machine,
        servers=servers,
        cells=tuple(cells),
    )


def _described(peer: Peer, cores: int) -> Server:
    versions = environments.versions(peer.kept) if peer.kept else {}
    return Server(about=peer.about, versions=versions, settings=tuple(environments.quotes(peer.kept)) if peer.kept else (), cores=cores)


def _session(workload: Workload, plan: Plan, folder: Path, say: Callable[[str], None]) -> Cell:
    """The bare limit: the session in a process of its own."""
    inputs = folder / "inputs.npz"
    np.savez(inputs, **workload.inputs)
    variables = {session.FILE_VARIABLE: str(workload.file), session.NAME_VARIABLE: workload.model}
    samples, memory_mb = [], 0.0
    command = ["env", *(f"{name}={value}" for name, value in variables.items())]
    for at in range(plan.rounds):
        told = json.loads(
            output_of([*command, sys.executable, "-m", "bench.in_process", str(inputs), str(plan.seconds)], plan.seconds + 30)
        )
        memory_mb = told.pop("memory_mb")
        samples.append(Sample(**told))
        say(f"session round {at + 1}/{plan.rounds}: {samples[-1].per_second:,.0f} calls/s")
    return Cell(server=SESSION, door=SESSION, concurrency=1, samples=tuple(samples), memory_mb=memory_mb)


def _group(peers: Sequence[Peer], workload: Workload, matrix: Matrix, folder: Path, say: Callable[[str], None]) -> list[Cell]:
    cells: list[Cell] = []
    with contextlib.ExitStack() as stack:
        started, failed = _started(peers, workload, folder, stack, say)
        for door, concurrency in itertools.product([door for door in matrix.doors if door in workload.doors], matrix.concurrency):
            shaped = dataclasses.replace(workload, connections=concurrency, streams=concurrency)
            reasons = {peer.name: failed.get(peer.name) or peer.silence(door, shaped) for peer in peers}
            cells += [Cell(server=name, door=door, concurrency=concurrency, silence=why) for name, why in reasons.items() if why]
            able = [server for server in started if not reasons[server.peer.name]]
            rounds = _Rounds(door, shaped, matrix.plan, folder, say)
            rounds.warm_up = concurrency == matrix.concurrency[0]
            cells += rounds.cells(able)
    return cells


def _started(
    peers: Sequence[Peer], workload: Workload, folder: Path, stack: contextlib.ExitStack, say: Callable[[str], None]
) -> tuple[list[Started], dict[str, str]]:
    """Those that answer rightly, and why the others do not."""
    started: list[Started] = []
    failed: dict[str, str] = {}
    for peer in peers:
        if all(peer.silence(door, workload) for door in LOADS):
            continue
        try:
            started.append(stack.enter_context(peer.start(workload, folder)))
            say(f"{peer.name} answers rightly")
        except (BenchError, OSError) as error:
            failed[peer.name] = f"could not be started: {reason(str(error))}"
            say(f"{peer.name} {failed[peer.name]}")
    return started, failed


def reason(text: str) -> str:
    """One line of a failure that may hold a log: the last that names an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    line = (named or lines or ["no reason given"])[-1 if named else 0]
    return re.sub(r"(?<![\w:/])/(?:[\w.@+-]+/)+", "", line)[:300]  # a page names no folder of one machine


class _Rounds:
    """All servers under one load, in alternating order, so that drift of the machine hits all alike."""

    def __init__(self, door: str, workload: Workload, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self.door, self.workload, self.plan, self.folder, self.say = door, workload, plan, folder, say
        self.load = LOADS[door]
        self.concurrency = workload.connections
        self.warm_up = True
        self.failed: dict[str, str] = {}

    def cells(self, servers: Sequence[Started]) -> Iterator[Cell]:
        samples: dict[str, list[Sample]] = {server.peer.name: [] for server in servers}
        for server in servers if self.warm_up else ():
            self._one(server, self.plan.warm_up_s)
        for at in range(self.plan.rounds):
            for server in servers if at % 2 == 0 else reversed(servers):
                sample = self._one(server, self.plan.seconds)
                if sample is not None:
                    samples[server.peer.name].append(sample)
                    self.say(
                        f"{self.door} x{self.concurrency} round {at + 1}/{self.plan.rounds} {server.peer.name}: {sample.per_second:,.0f}/s"
                    )
        for server in servers:
            yield self._cell(server, samples[server.peer.name])

    def _one(self, server: Started, seconds: int) -> Sample | None:
        name = server.peer.name
        if name in self.failed:
            return None
        try:
            before = server.process.cpu_s()
            found = self.load.measure(server, self.workload, seconds, self.folder)
            cpu_s = server.process.cpu_s() - before
            at_rest(server.process)
        except BenchError as error:
            self.failed[name] = reason(str(error))
            self.say(f"{self.door} x{self.concurrency} {name}: {self.failed[name]}")
            return None
        return Sample(requests=found.requests, seconds=found.seconds, cpu_s=cpu_s, p50_ms=found.p50_ms, p99_ms=found.p99_ms)

    def _cell(self, server: Started, samples: Sequence[Sample]) -> Cell:
        name = server.peer.name
        if name in self.failed:
            return Cell(server=name, door=self.door, concurrency=self.concurrency, silence=f"no figure: {self.failed[name]}")
        if self.load.latency is not None:
            speed = statistics.median(sample.per_second for sample in samples)
            p50_ms, p99_ms = self.load.latency(server, self.workload, speed, self.folder)
            samples = [Sample(**{**_plain(sample), "p50_ms": p50_ms, "p99_ms": p99_ms}) for sample in samples]
            at_rest(server.process)
        memory_mb = server.process.memory_mb()
        return Cell(server=name, door=self.door, concurrency=self.concurrency, samples=tuple(samples), memory_mb=memory_mb)


def _plain(sample: Sample) -> dict[str, float]:
    return {field: getattr(sample, field) for field in sample.__struct_fields__}


def at_rest(process: Running) -> None:
    """Wait until the server has done what the generator left behind, so that the next one has the machine to itself. Raises BenchError."""
    deadline, window_s = time.monotonic() + QUIET_LIMIT_S, 0.1
    while time.monotonic() < deadline:
        before = process.cpu_s()
        time.sleep(window_s)
        if process.ended:
            raise BenchError(str(process.failure()))
        if process.cpu_s() - before <= QUIET * window_s + 1 / os.sysconf("SC_CLK_TCK"):
            return
    raise BenchError(f"still busy {QUIET_LIMIT_S:.0f} s after the load ended")
