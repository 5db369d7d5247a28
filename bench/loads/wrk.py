"""wrk: REST over HTTP/1.1 keep-alive, closed loop."""

import json
import re
from pathlib import Path
from typing import Final

from bench.loads.load import Load, Sample, output_of, tool
from bench.peers.peer import Started
from bench.processes import BenchError
from bench.workload import Workload

ANSWER_LIMIT: Final = "60s"
"""A slow answer is a slow answer, not an error."""
_MILLISECONDS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def measure(server: Started, workload: Workload, seconds: int, folder: Path) -> Sample:
    script, body_file = folder / "request.lua", folder / "request.body"
    headers, body = workload.rest_request()
    body_file.write_bytes(body)
    lines = [f"wrk.headers[{_quoted(name)}]={_quoted(value)}" for name, value in headers.items()]
    script.write_text("\n".join(['wrk.method="POST"', f'wrk.body=io.open({_quoted(str(body_file))}, "rb"):read("*a")', *lines]) + "\n")
    url = f"{server.rest_url}/v2/models/{workload.model}/infer"
    load = ["-t1", f"-c{workload.connections}", f"-d{seconds}s", "--timeout", ANSWER_LIMIT]
    command = [tool("wrk", "wrk"), *load, "--latency", "-s", str(script), url]
    return parse(output_of(command, seconds + 20))


def _quoted(text: str) -> str:
    return json.dumps(text)  # a JSON string of plain ASCII is a Lua string too


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


def title(workload: Workload) -> str:
    return f"REST {'binary' if workload.binary else 'JSON'}, wrk -t1 -c{workload.connections}"


LOAD = Load(title=title, measure=measure)
