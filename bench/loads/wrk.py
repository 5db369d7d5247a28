"""wrk: REST over HTTP/1.1 keep-alive, 32 connections, closed loop."""

import json
import re
from pathlib import Path
from typing import Final

from bench.loads.load import Load, Sample, output_of, tool
from bench.peers.peer import Started
from bench.processes import BenchError
from bench.workload import Workload

CONNECTIONS: Final = 32
_MILLISECONDS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def measure(server: Started, workload: Workload, seconds: int, folder: Path) -> Sample:
    script = folder / "request.lua"
    body = json.dumps(workload.rest_body())  # a JSON string of plain ASCII is a Lua string too
    script.write_text(f'wrk.method="POST"\nwrk.body={body}\nwrk.headers["Content-Type"]="application/json"\n')
    url = f"{server.rest_url}/v2/models/{workload.model}/infer"
    command = [tool("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    return parse(output_of(command, seconds + 20))


def parse(text: str) -> Sample:
    """Read wrk's report. Raises BenchError when any request failed: then the figure means nothing."""
    failed = re.search(r"(Non-2xx or 3xx responses|Socket errors): .*", text)
    if failed:
        raise BenchError(f"wrk reports failures: {failed.group(0)}")
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    if total is None or int(total.group(1)) == 0:
        raise BenchError(f"wrk made no request:\n{text}")
    seconds = float(total.group(2)) * _MILLISECONDS[total.group(3)] / 1e3
    return Sample(requests=int(total.group(1)), seconds=seconds, p50_ms=_percentile(text, 50), p99_ms=_percentile(text, 99))


def _percentile(text: str, which: int) -> float:
    found = re.search(rf"^\s*{which}%\s+([\d.]+)(us|ms|s|m)\b", text, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk reports no {which}% latency:\n{text}")
    return float(found.group(1)) * _MILLISECONDS[found.group(2)]


LOAD = Load(title=f"REST JSON, wrk -t1 -c{CONNECTIONS}", measure=measure)
