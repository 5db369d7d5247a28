"""Load tests: learn what the server takes, ask before loading, run every load or search for the capacity, judge the gates."""

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from aweigh import __version__
from aweigh.app.bench_data import Wanted, make_questions, probe
from aweigh.bench.address import Address, parse_url
from aweigh.bench.capacity import HEADROOM, Capacity, CapacitySearch, Outcome, Price, size
from aweigh.bench.cpu import CpuWatch
from aweigh.bench.gates import Gate, judge
from aweigh.bench.generator import connections_of, enough_connections
from aweigh.bench.pictures import Picture
from aweigh.bench.plan import Load, Question
from aweigh.bench.processes import run_load
from aweigh.bench.report import Report, surroundings
from aweigh.bench.result import Measurement, measured
from aweigh.bench.server import describe, is_this_machine, server_facts
from aweigh.core import plugins
from aweigh.core.errors import FileMissing, InvalidFile, StoreUnavailable, Unsupported
from aweigh.core.machine import machine
from aweigh.core.objective import Objective
from aweigh.core.protocols import Progress, quiet

MAX_ERRORS: Final = 0.001
_FIRST_S: Final = 1.0
"""Time of the closed-loop look that tells where a search begins."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A search for the capacity, and the load to size for."""

    objective: Objective
    max_rate: float = 1e6
    max_errors: float = MAX_ERRORS
    cores: float | None = None
    load: float | None = None
    headroom: float = HEADROOM
    price: Price | None = None


class BenchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. In a search, the first load says how long runs are and how requests arrive."""

    url: str
    loads: tuple[Load, ...]
    wanted: Wanted = Wanted()
    headers: tuple[tuple[str, str], ...] = ()
    api_key_file: str = ""
    ca_file: str = ""
    gates: tuple[Gate, ...] = ()
    search: Search | None = None
    corrected: bool = False


def run_bench(options: BenchOptions, progress: Progress = quiet) -> Report:
    """Run the whole test. Raises what the server or the options are wrong in before any load is sent."""
    headers = options.headers + ((("authorization", f"Bearer {_key(options.api_key_file)}"),) if options.api_key_file else ())
    address = parse_url(options.url, headers=headers, ca_file=options.ca_file)
    for load in options.loads:
        connections_of(load, address.target)
    progress("asking the server")
    report, questions = _prepare(options, address)
    runner = _Runner(address, questions, corrected=options.corrected, progress=progress)
    if options.search is not None:
        report = _find_capacity(report, runner, options.loads[0], options.search)
    else:
        runs = [runner.run(load, f"run {at + 1} of {len(options.loads)}") for at, load in enumerate(options.loads)]
        report = msgspec.structs.replace(report, runs=tuple(runs))
    verdicts = tuple(judge(gate, run) for run in report.runs for gate in options.gates)
    return msgspec.structs.replace(report, verdicts=verdicts)


def _prepare(options: BenchOptions, address: Address) -> tuple[Report, list[Question]]:
    """A report without runs, and the requests, of which the first have been answered."""
    started_at, load_before, here = dt.datetime.now(dt.UTC), os.getloadavg()[0], machine()
    same_machine, timeout_s = is_this_machine(address.target.host), options.loads[0].timeout_s
    facts = describe(address, timeout_s=timeout_s)
    questions, source = make_questions(address, facts, options.wanted)
    questions, asked = probe(address, questions, source, options.wanted, timeout_s=timeout_s)
    made_up = not (options.wanted.data or options.wanted.body)
    report = Report(
        url=options.url,
        dialect=address.dialect,
        model=facts,
        server=server_facts(address, timeout_s=timeout_s),
        asked=asked,
        generator=f"aweigh {__version__}",
        started_at=started_at.isoformat(timespec="seconds"),
        same_machine=same_machine,
        machine=here,
        load_before=load_before,
        runs=(),
        notes=surroundings(same_machine=same_machine, machine=here, load_before=load_before, made_up=made_up, loads=options.loads),
    )
    return report, questions


class _Runner:
    """Runs loads against one server."""

    def __init__(self, address: Address, questions: Sequence[Question], *, corrected: bool, progress: Progress) -> None:
        self._questions = questions
        self._corrected = corrected
        self._progress = progress
        self.target = address.target
        self._watched = address.target.port if is_this_machine(address.target.host) else None

    def run(self, load: Load, step: str) -> Measurement:
        what = f"{load.rate:,g} requests/s" if load.is_open else f"{load.concurrency} users"
        self._progress(f"{step}: {what} for {load.warmup_s + load.duration_s:g} s")
        with CpuWatch(self._watched) as watch:
            tallies = run_load(self.target, self._questions, load)
        return measured(load, tallies, corrected=self._corrected, server_cpu=watch.cores(tallies[0].begin, tallies[0].end))


def _find_capacity(report: Report, runner: _Runner, load: Load, search: Search) -> Report:
    """Search, then size. The report shows the last run at the rate that was found, or the last of all."""
    first = runner.run(_closed_look(load), "a first look")
    alone_s = (first.latency.mean_ms or 1000.0) / 1000
    seeking = CapacitySearch(start=max(1.0, 0.5 / alone_s), max_rate=search.max_rate)
    runs: list[Measurement] = []
    while (rate := seeking.next_rate()) is not None:
        connections = load.connections or enough_connections(runner.target, rate, search.objective.limit_s)
        trial = msgspec.structs.replace(load, rate=rate, concurrency=0, connections=connections, seed=load.seed + len(runs))
        runs.append(runner.run(trial, f"{seeking.phase}, run {len(runs) + 1}"))
        seeking.record(outcome(runs[-1], search))
    found = seeking.result()
    shown = [
        run for run, trial in zip(runs, found.trials, strict=True) if trial.rate == found.rate and trial.outcome != "generator"
    ] or runs[-1:]
    used = shown[-1].server_cpu
    cores = search.cores or (max(1.0, float(round(used + 0.45))) if used is not None else None)
    stated = "as stated" if search.cores else f"its processes used {used:.2f} cores" if used is not None else "unknown: give --cores"
    sizing = size(found.rate, cores=cores, cores_from=stated, load=search.load, headroom=search.headroom, price=search.price)
    notes = (*report.notes, *_capacity_notes(found, first, search))
    if not all(run.valid for run in shown):
        notes = (*notes, "the generator's own lateness is in these figures, so the server's capacity may be higher")
    return msgspec.structs.replace(report, runs=tuple(shown), objective=str(search.objective), capacity=found, sizing=sizing, notes=notes)


def _closed_look(load: Load) -> Load:
    return msgspec.structs.replace(
        load, rate=0.0, concurrency=1, connections=0, processes=1, duration_s=_FIRST_S, warmup_s=min(load.warmup_s, 0.5)
    )


def outcome(run: Measurement, search: Search) -> Outcome:
    """What a run says of its rate. The generator's own lateness is in the latency, so an objective that held in spite of it held."""
    if run.holds(search.objective) and run.kept_up and run.error_share <= search.max_errors:
        return "held"
    return "failed" if run.valid else "generator"


def _capacity_notes(found: Capacity, first: Measurement, search: Search) -> list[str]:
    notes = []
    if not found.rate:
        at_once = first.percentile_s(search.objective.percentile)
        notes.append(
            f"the objective held at no rate that was tried; one request at a time, p{search.objective.percentile:g} was {at_once * 1000:.3g} ms"
        )
    if found.limited_by == "generator":
        notes.append(
            "the generator gave out before the server did: the capacity is at least this; give more --processes, or another machine"
        )
    if not found.steady:
        notes.append(
            f"after {len(found.trials)} runs the search was broken off: runs at the same rate kept disagreeing; a longer --duration or a quieter machine helps"
        )
    if found.limited_by == "nothing":
        notes.append(f"the objective held at {found.rate:,g} requests/s, the most that was tried (--max-rate)")
    return notes


def write_plot(report: Report, path: Path, lines: Sequence[str]) -> None:
    """Write the plot in the form that the file's name says: .svg, .html or .png. Raises as `check_plot`, and StoreUnavailable."""
    picture = Picture(
        title=f"{report.model.name or report.url}: load test",
        subtitle=f"{report.url}, {report.started_at}, {report.machine.processor}, {report.machine.cores} cores",
        runs=report.runs,
        lines=lines,
    )
    try:
        check_plot(path)(path, picture)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be written: {error.strerror}", hint="check the folder and the space left") from error


def check_plot(path: Path) -> Callable[[Path, Picture], None]:
    """What writes that form. Raises, before the test, Unsupported for another form, MissingLibrary, FileMissing for the folder."""
    form = path.suffix.lower().removeprefix(".")
    known = [row.name for row in plugins.plugins("plot")]
    if form not in known:
        forms = ", ".join(f".{name}" for name in known)
        raise Unsupported(f"{path}: '{path.suffix}' is not a format that plots are written in", hint=f"use one of {forms}")
    if not path.absolute().parent.is_dir():
        raise FileMissing(f"there is no folder {path.absolute().parent}", hint="check --plot")
    return cast("Callable[[Path, Picture], None]", plugins.load("plot", form))


def _key(path: str) -> str:
    """The first key of a file of `name:key` or `key` lines: the server's own file will do."""
    with contextlib.suppress(FileNotFoundError):
        try:
            lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
            raise InvalidFile(f"API key file {path} cannot be read: {error}") from error
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise InvalidFile(f"API key file {path} holds no key", hint="one 'name:key' or 'key' per line")
        return keys[0].partition(":")[2].strip() or keys[0]
    raise FileMissing(f"API key file {path} does not exist", hint="check --api-key-file")
