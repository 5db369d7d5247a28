"""The bare limit: one session, no server, the request's arrays again and again on one thread. `python -m bench.in_process INPUTS.npz SECONDS`.

Must run as a process of its own, so that its CPU time and its threads are nobody else's. Prints a JSON object.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from bench.session import Session


def main(path: str, seconds: float) -> dict[str, float]:
    session, times = Session.of_environment(), []
    with np.load(path) as file:
        feeds = {name: file[name] for name in file.files}
    warm = time.perf_counter() + 0.2
    while time.perf_counter() < warm:
        session.run(feeds)
    cpu, start = time.process_time(), time.perf_counter()
    at, end = start, start + seconds
    while at < end:
        session.run(feeds)
        before, at = at, time.perf_counter()
        times.append(at - before)
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return {
        "requests": len(times),
        "seconds": at - start,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "cpu_s": time.process_time() - cpu,
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[1]) / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]))))
