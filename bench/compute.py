"""`--scenario compute`: models whose compute rules. What the server gives of what its session gives in process, and whether an objective is held.

Called by `__main__.py`. The other side of each ratio is the session's best over threads and batch, measured in the same rounds.
"""

import contextlib
import dataclasses
import datetime as dt
import json
import math
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import held, session
from bench.loads import LOADS
from bench.loads.load import Sample
from bench.peers import aweigh
from bench.peers.peer import Started
from bench.processes import BenchError
from bench.rounds import Plan
from bench.scenarios import dear
from bench.workload import Workload

NAME: Final = "compute"
BAR: Final = 0.97
"""Of the session's best in process: what is left for the server and for the load generator, on the same cores."""
MODELS: Final[dict[str, Callable[[], Workload]]] = {"minilm": dear.prepare_text, "resnet18": dear.prepare_image}
ROWS: Final = (1, 2, 4, 8, 16, 32)
_CORES: Final = len(os.sched_getaffinity(0))
SHAPES: Final = tuple(dict.fromkeys(((1, _CORES), (_CORES, 1))))
"""Threads inside a call, and callers: the same cores, shared out either way."""
_SWEEP_S: Final = 0.7
_LEAST_BATCHES: Final = 8
"""Of the best size, that a run lasts for."""
_LEAST_IN_FLIGHT, _MOST_IN_FLIGHT = 32, 128
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One way to call a session in process, and what it gave in the sweep."""

    threads: int
    callers: int
    rows: int
    per_second: float = 0.0

    @property
    def in_flight(self) -> int:
        """Requests of one row that keep as many rows running, and as many waiting while those run."""
        return min(_MOST_IN_FLIGHT, max(_LEAST_IN_FLIGHT, 2 * self.callers * self.rows))

    def __str__(self) -> str:
        return f"{self.callers} caller(s) of a session of {self.threads} thread(s), {self.rows} row(s) a call"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One model: the rounds in process, and those of the server by door."""

    model: str
    title: str
    best: Shape
    swept: tuple[Shape, ...]
    in_flight: int
    decided: Mapping[str, Any]
    """What the server said of executor and batches, after the load."""
    in_process: tuple[Sample, ...]
    doors: Mapping[str, tuple[Sample, ...]]

    def ratios(self, door: str) -> list[float]:
        """Of the session's best, round by round: the mean of what it gave before and after."""
        return [
            mine.per_second / statistics.mean((before.per_second, after.per_second))
            for mine, before, after in zip(self.doors[door], self.in_process, self.in_process[1:], strict=False)
        ]


def run(flags: Any, where: Mapping[str, object], folder: Path, results: Path, say: Say) -> list[str]:
    """Measure, print, write; what missed its bar. Raises BenchError."""
    plan = Plan(rounds=flags.rounds or (3 if flags.quick else 5), seconds=flags.seconds or (2 if flags.quick else 4))
    shares, tests, texts = [], [], []
    for name, prepare in MODELS.items():
        workload = aweigh.packed(prepare(), folder / name)
        share = _share(workload, plan, folder, say)
        capacity = statistics.median(sample.per_second for sample in share.doors["rest"])
        test = held.measure(workload, capacity, max(1, plan.rounds // 2), 2 * plan.seconds, folder, say)
        texts += [share_text(share), held.text(test)]
        print("\n" + "\n\n".join(texts[-2:]), flush=True)
        shares.append(share)
        tests.append(test)
    document = {"machine": dict(where), "rounds": plan.rounds, "seconds": plan.seconds, "text": texts}
    found = {"shares": [dataclasses.asdict(share) for share in shares], "objectives": [dataclasses.asdict(test) for test in tests]}
    print(f"\nwritten to {_write(results, document | found)}")
    return [problem for share in shares for problem in _missed(share)] + [problem for test in tests for problem in held.missed(test)]


def _write(results: Path, document: Mapping[str, Any]) -> Path:
    results.mkdir(exist_ok=True)
    now = dt.datetime.now(tz=dt.UTC)
    path = results / f"{NAME}-{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps({"scenario": NAME, "at": now.isoformat(timespec="seconds"), **document}, indent=1) + "\n")
    return path


def newest(results: Path) -> Mapping[str, Any] | None:
    """What was written last."""
    paths = sorted(results.glob(f"{NAME}-[0-9]*.json"))
    return dict(json.loads(paths[-1].read_text())) if paths else None


def _share(workload: Workload, plan: Plan, folder: Path, say: Say) -> Share:
    with _ceiling(workload, folder) as ask:
        swept = tuple(_swept(ask, threads, callers, rows) for threads, callers in SHAPES for rows in ROWS)
        best = max(swept, key=lambda shape: shape.per_second)
        say(f"{workload.model}: best in process is {best}: {best.per_second:,.1f} rows/s")
        asked = dataclasses.replace(workload, connections=best.in_flight, streams=best.in_flight)
        with aweigh.PEER.start(asked, folder) as server:
            in_process, doors = _rounds(ask, best, server, asked, plan, folder, say)
            decided = held.decided(server.rest_url, workload.model)
    return Share(
        model=workload.model,
        title=workload.title,
        best=best,
        swept=swept,
        in_flight=best.in_flight,
        decided=decided,
        in_process=tuple(in_process),
        doors={door: tuple(samples) for door, samples in doors.items()},
    )


def _swept(ask: Callable[[Shape, float], Sample], threads: int, callers: int, rows: int) -> Shape:
    shape = Shape(threads=threads, callers=callers, rows=rows)
    return dataclasses.replace(shape, per_second=ask(shape, _SWEEP_S).per_second)


def _rounds(
    ask: Callable[[Shape, float], Sample], best: Shape, server: Started, workload: Workload, plan: Plan, folder: Path, say: Say
) -> tuple[list[Sample], dict[str, list[Sample]]]:
    """In process, then each door, and in process once more at the end."""
    seconds = max(plan.seconds, math.ceil(_LEAST_BATCHES * best.rows / best.per_second))
    ramp_s = math.ceil(2 * best.in_flight / best.per_second)
    for load in LOADS.values():
        load.measure(server, workload, seconds, folder)
    in_process = [ask(best, seconds)]
    doors: dict[str, list[Sample]] = {door: [] for door in LOADS}
    for at in range(plan.rounds):
        for door in LOADS if at % 2 == 0 else reversed(LOADS):
            doors[door].append(_steady(server, workload, door, seconds, ramp_s, folder))
        in_process.append(ask(best, seconds))
        figures = ", ".join(f"{door} {samples[-1].per_second:,.1f}" for door, samples in doors.items())
        say(f"{workload.model} round {at + 1}/{plan.rounds}: in process {in_process[-1].per_second:,.1f}, {figures}")
    return in_process, doors


def _steady(server: Started, workload: Workload, door: str, seconds: int, ramp_s: int, folder: Path) -> Sample:
    """A run of a generator, counted by the server from the end of one of its batches to the end of another, both while the load is on.

    The generator's own count would leave out what is under way when it ends, some batches of a model of which a run has not many.
    """
    before = server.process.cpu_s()
    with ThreadPoolExecutor(1) as aside:
        run = aside.submit(LOADS[door].measure, server, workload, seconds + 2 * ramp_s, folder)
        time.sleep(ramp_s)
        rows, began_ms = _counted(server, workload.model)
        time.sleep(seconds)
        rows_after, ended_ms = _counted(server, workload.model)
        sample = run.result()
    if ended_ms <= began_ms:
        raise BenchError(f"{workload.model} answered nothing within {seconds} s")
    return dataclasses.replace(
        sample, requests=rows_after - rows, seconds=(ended_ms - began_ms) / 1000, cpu_s=server.process.cpu_s() - before
    )


def _counted(server: Started, model: str) -> tuple[int, int]:
    """Rows that the server has answered, and when the last of them, in milliseconds."""
    with urllib.request.urlopen(f"{server.rest_url}/v2/models/{model}/stats", timeout=10) as answer:
        [told] = json.loads(answer.read())["model_stats"]
    return told["inference_count"], told["last_inference"]


@contextlib.contextmanager
def _ceiling(workload: Workload, folder: Path) -> Iterator[Callable[[Shape, float], Sample]]:
    """A process that calls the session as it is told; it ends with its standard input."""
    inputs = folder / f"{workload.model}.npz"
    np.savez(inputs, **workload.inputs)
    environment = {**os.environ, session.FILE_VARIABLE: str(workload.file)}
    command = [sys.executable, "-m", "bench.ceiling", str(inputs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise BenchError("the process that calls the session has no pipes")

        def ask(shape: Shape, seconds: float) -> Sample:
            order = {"threads": shape.threads, "callers": shape.callers, "rows": shape.rows, "seconds": seconds}
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            line = stdout.readline()
            if not line:
                raise BenchError(f"the process that calls the session ended with status {process.wait()}: {shape}")
            return Sample(**json.loads(line))

        try:
            yield ask
        finally:
            stdin.close()


def share_text(share: Share) -> str:
    """The sweep's best, the server's decision, and a line for each door."""
    in_process = statistics.median(sample.per_second for sample in share.in_process)
    rows = [
        share.title,
        f"  in process, best: {in_process:,.1f} rows/s ({share.best})",
        f"  aweigh decided: {json.dumps(share.decided)}",
        f"  {'door':<8}{'in flight':>10}{'requests/s':>12}{'p99 ms':>9}{'of the best':>13}{'min-max':>14}",
    ]
    for door, samples in share.doors.items():
        found = share.ratios(door)
        speed = statistics.median(sample.per_second for sample in samples)
        spread = f"{min(found):.3f}-{max(found):.3f}"
        p99 = statistics.median(sample.p99_ms for sample in samples)
        latency = f"{p99:.0f}" if p99 else ""
        rows.append(
            f"  {door:<8}{share.in_flight:>10}{speed:>12,.1f}{latency:>9}{statistics.median(found):>13.3f}{spread:>14}  {_verdict(found)}"
        )
    return "\n".join(rows)


def _verdict(found: Sequence[float]) -> str:
    return f"at least {BAR}: {'met' if statistics.median(found) >= BAR else 'MISSED'}"


def _missed(share: Share) -> list[str]:
    return [
        f"{share.model}, {door}: {statistics.median(share.ratios(door)):.3f} of the session's best in process, {BAR} is the bar"
        for door in share.doors
        if statistics.median(share.ratios(door)) < BAR
    ]
