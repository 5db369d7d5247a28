"""`python -m bench.optimize` (which `make bench-optimize` runs): each scenario in turn, then the page."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Final

from bench.optimize import cnn, depthwise, ensembles, minilm, mlp, page
from bench.optimize.results import Document, newest, write
from bench.processes import BenchError, stop_on_sigterm
from bench.report import RESULTS

SCENARIOS: Final[dict[str, Callable[[], Document]]] = {
    "mlp": mlp.measure,
    "cnn": cnn.measure,
    "depthwise": depthwise.measure,
    "minilm": minilm.measure,
    "trees": ensembles.measure,
}


def main() -> int:
    """0: measured. 1: a bar was missed, under --strict. 4: could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.optimize", description="aweigh optimize beside Olive and NNCF, in one run.")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="repeatable; default: all")
    parser.add_argument("--page-only", action="store_true", help="write docs/optimisation.md from what was measured last")
    parser.add_argument("--strict", action="store_true", help="end with status 1 when a bar is missed")
    flags = parser.parse_args()
    stop_on_sigterm()
    missed = 0
    try:
        for name in [] if flags.page_only else flags.scenario or SCENARIOS:
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            document = SCENARIOS[name]()
            missed += sum(not bar.met for bar in document.bars)
            print(f"{page.scenario(document)}\nwritten to {write(document, RESULTS)}", flush=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 4
    for path in page.write(newest(RESULTS, list(SCENARIOS))):
        print(f"written to {path}")
    return 1 if missed and flags.strict else 0


if __name__ == "__main__":
    sys.exit(main())
