"""The command: `python -m bench` (which `make bench` runs). Reads flags, prints the report; the measuring is in the other files."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import compare, compute, latency, machine, pipeline, report, rounds, startup
from bench.loads.load import tool
from bench.peers import PEERS
from bench.processes import BenchError, stop_on_sigterm
from bench.rounds import Plan
from bench.scenarios import SCENARIOS, WITH_PEERS

STARTUP = "startup"


def main() -> int:
    """0: measured. 1: measured, and a target was missed under --strict. 4: could not be measured."""
    flags = _flags()
    stop_on_sigterm()
    where = machine.describe()
    try:
        if flags.peers is not None or flags.write_docs:
            return compare.main(flags, where)
        late = [problem for name in flags.scenario or ["iris", STARTUP] for problem in _scenario(name, flags, where)]
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 4
    print(report.machine_text(where))
    for problem in late:
        print(f"missed: {problem}", file=sys.stderr)
    return 1 if late and flags.strict else 0


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Speed of aweigh beside a bare loop and peers, as ratios of one run."
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[*SCENARIOS, latency.NAME, STARTUP, compute.NAME, pipeline.NAME],
        help=f"repeatable; default: iris and startup; with --peers: {', '.join(WITH_PEERS)}",
    )
    parser.add_argument(
        "--servers", help=f"comma-separated, the first is the base; default: the scenario's base and aweigh; of: {', '.join(PEERS)}"
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s; with --peers 1 round of each")
    parser.add_argument("--rounds", type=int, help="default 5; with --peers 3 of iris, 1 of the others")
    parser.add_argument("--seconds", type=int, help="of one round; default 3; with --peers 1, 2 of image-json")
    parser.add_argument("--install", action="store_true", help="also weigh a base install in a new environment (needs the package index)")
    parser.add_argument("--strict", action="store_true", help="end with status 1 when a target is missed")
    compare.add_flags(parser)
    flags = parser.parse_args()
    compare.check_flags(parser, flags)
    unknown = [name for name in (flags.servers or "aweigh").split(",") if name not in PEERS]
    if unknown:
        parser.error(f"there is no server named {unknown[0]!r}; there are: {', '.join(PEERS)}")
    for name in ("rounds", "seconds"):
        if getattr(flags, name) is not None and getattr(flags, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    return flags


def _scenario(name: str, flags: argparse.Namespace, where: dict[str, object]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="aweigh-bench-") as made:
        folder = Path(made)
        if name == STARTUP:
            budgets: list[startup.Budget] = []
            try:
                budgets += startup.commands(rounds=3 if flags.quick else 9)
                budgets += startup.install() if flags.install else []
                budgets += startup.serving(SCENARIOS["iris"](folder), folder, rounds=2 if flags.quick else 5)
            finally:  # what was measured is shown, whatever failed after it
                print(f"\n{report.budgets_text(budgets)}\n", flush=True)
            print(f"written to {report.write(name, where, [], budgets)}")
            return report.missed([], budgets)
        if name == pipeline.NAME:
            return pipeline.run(flags, where, folder, lambda text: print(text, file=sys.stderr, flush=True))
        if name == latency.NAME:
            return latency.run(flags, where, folder, lambda text: print(text, file=sys.stderr, flush=True))
        for needed, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
            tool(needed, package)
        if name == compute.NAME:
            return compute.run(flags, where, folder, report.RESULTS, lambda text: print(text, file=sys.stderr, flush=True))
        plan = Plan(rounds=flags.rounds or (3 if flags.quick else 5), seconds=flags.seconds or (1 if flags.quick else 3))
        workload = SCENARIOS[name](folder)
        peers = [PEERS[server] for server in (flags.servers or f"{workload.base},aweigh").split(",")]
        tables = rounds.measure(peers, workload, plan, folder, lambda text: print(text, file=sys.stderr, flush=True))
        print(f"\n{workload.title}; {plan.rounds} interleaved rounds of {plan.seconds} s")
        for peer in {peer.name: peer for peer in peers}.values():
            print(f"  {peer.name}: {peer.about}")
        print("\n" + "\n\n".join(report.table_text(table) for table in tables) + "\n")
        print(f"written to {report.write(name, where, tables, [])}")
        return report.missed(tables, [])


if __name__ == "__main__":
    sys.exit(main())
