"""`python -m bench --peers` and `--write-docs`: aweigh beside other servers, and the page made of it. Called by `__main__.py`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench import comparison, compute, document, latency, machine, page, report
from bench.bars import judged
from bench.loads import LOADS
from bench.loads.load import tool
from bench.peers import ONE_WORKER, TWO_CORES
from bench.rounds import Plan
from bench.scenarios import SCENARIOS, WITH_PEERS
from bench.side_by_side import CONCURRENCY, Matrix, measure

JUDGED = "iris"
"""The scenario of the bars gets three rounds and every server; the others one round, so that all of it takes a quarter of an hour."""
SECONDS = {"image-json": 2}
BIAS = (
    "with peers: all servers of a group are up while one of them is loaded; Ray's own processes are never quite at rest",
    "with peers: one worker means one that runs the model; LitServe, Ray and BentoML have further processes for their doors, which may use the other core",
    "with peers: memory is resident memory summed over a server's processes, pages that they share counted in each",
)
NAMES = tuple(peer.name for peer in (*ONE_WORKER, *TWO_CORES))


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peers",
        nargs="?",
        const=",".join(NAMES),
        metavar="NAMES",
        help=f"compare with other servers, each in an environment of its own, made once; comma-separated, default: {', '.join(NAMES)}",
    )
    default = ",".join(str(number) for number in CONCURRENCY)
    parser.add_argument("--concurrency", default=default, help=f"with --peers: requests in flight, comma-separated; default: {default}")
    parser.add_argument("--doors", default=",".join(LOADS), help=f"with --peers: of {', '.join(LOADS)}; default: all")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md from the newest comparison of each scenario")


def check_flags(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    """Turn the lists into tuples. Ends the program where one is wrong."""
    flags.doors = tuple(flags.doors.split(","))
    if not flags.concurrency.replace(",", "").isdigit() or "0" in flags.concurrency.split(","):
        parser.error(f"--concurrency must be numbers of 1 or more, such as 1,32; it is {flags.concurrency!r}")
    flags.concurrency = tuple(int(number) for number in flags.concurrency.split(","))
    for named, known in ((flags.doors, LOADS), ((flags.peers or NAMES[0]).split(","), NAMES)):
        unknown = [name for name in named if name not in known]
        if unknown:
            parser.error(f"there is no {unknown[0]!r}; there are: {', '.join(known)}")


def main(flags: argparse.Namespace, where: Mapping[str, object]) -> int:
    """0: measured. 1: a bar was missed under --strict. Raises BenchError."""
    documents = [_scenario(name, flags, where) for name in flags.scenario or WITH_PEERS] if flags.peers is not None else []
    if documents:
        print(f"\n{comparison.bars_text(documents)}\n\n{report.machine_text(where)}")
    if flags.write_docs:
        more = {"latency": latency.newest(report.RESULTS), "compute": compute.newest(report.RESULTS)}
        for path in page.write(document.newest(report.RESULTS, list(SCENARIOS)), **more):
            print(f"written to {path}")
    return 1 if flags.strict and any(not verdict.met for verdict in judged(documents)) else 0


def _scenario(name: str, flags: argparse.Namespace, where: Mapping[str, object]) -> document.Document:
    for needed, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        tool(needed, package)
    matrix = Matrix(
        plan=Plan(rounds=flags.rounds or (3 if name == JUDGED and not flags.quick else 1), seconds=flags.seconds or SECONDS.get(name, 1)),
        concurrency=flags.concurrency,
        doors=flags.doors,
        only=_only(name, flags.peers.split(",")),
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aweigh-bench-") as made:
        folder = Path(made)
        _say(f"{name}: preparing the model")
        found = measure(
            name, SCENARIOS[name](folder), matrix, folder, {**where, "load_before": machine.load(), "bias": [*machine.BIAS, *BIAS]}, _say
        )
    print(
        f"\n{comparison.text(found)}\n\nwritten to {document.write(found, report.RESULTS)} after {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return found


def _only(scenario: str, asked: list[str]) -> tuple[str, ...]:
    """Servers on two cores and the one without batching are shown where the bars are, unless only some were asked for."""
    if scenario == JUDGED or set(asked) != set(NAMES):
        return tuple(asked)
    return tuple(peer.name for peer in ONE_WORKER if peer.name != "aweigh-unbatched")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
