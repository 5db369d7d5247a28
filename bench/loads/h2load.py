"""h2load: gRPC unary over HTTP/2 with prior knowledge, 4 connections of 8 streams, closed loop."""

import re
from pathlib import Path
from typing import Final

from bench.loads.load import Load, Sample, output_of, tool
from bench.peers.peer import Started
from bench.processes import BenchError
from bench.workload import ROUTE, Workload

CONNECTIONS: Final = 4
LATENCY_REQUESTS: Final = 20_000
LATENCY_S: Final = 0.5
"""For about so long, at the speed that was measured."""
LATENCY_BYTES: Final = 1 << 30
"""At most this much is sent for latencies."""
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_HEADERS: Final = ("content-type: application/grpc", "te: trailers")


def measure(server: Started, workload: Workload, seconds: int, folder: Path) -> Sample:
    return parse(output_of([*_command(server, workload, folder), "-D", str(seconds)], seconds + 20))


def latency(server: Started, workload: Workload, per_second: float, folder: Path) -> tuple[float, float]:
    """p50 and p99 in ms, from a run of its own: h2load tells them only by a log of every request, which slows it."""
    log = folder / "h2load.log"
    log.unlink(missing_ok=True)
    likely = max(2 * workload.streams, int(per_second * LATENCY_S))
    requests = min(LATENCY_REQUESTS, LATENCY_BYTES // len(workload.grpc_body()), likely)
    parse(output_of([*_command(server, workload, folder), "-n", str(requests), "--log-file", str(log)], 60))
    times_us = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    return times_us[len(times_us) // 2] / 1e3, times_us[len(times_us) * 99 // 100] / 1e3


def _command(server: Started, workload: Workload, folder: Path) -> list[str]:
    body = folder / "request.grpc"
    body.write_bytes(workload.grpc_body())
    headers = [part for header in _HEADERS for part in ("-H", header)]
    load = [*_shape(workload), "-t1", "-d", str(body)]
    return [tool("h2load", "nghttp2-client"), *load, *headers, f"{server.grpc_url}/{ROUTE}"]


def _shape(workload: Workload) -> tuple[str, str]:
    connections = min(CONNECTIONS, workload.streams)
    return f"-c{connections}", f"-m{workload.streams // connections}"


def title(workload: Workload) -> str:
    return f"gRPC unary, h2load {' '.join(_shape(workload))} -t1"


def parse(text: str) -> Sample:
    """Read h2load's report. Raises BenchError when any request failed, or was answered without a message (how gRPC fails under status 200)."""
    finished = re.search(r"finished in ([\d.]+)(us|ms|s), ", text)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    data = re.search(r"\((\d+)\) data", text)
    if finished is None or counts is None or data is None:
        raise BenchError(f"h2load's report cannot be read:\n{text}")
    succeeded, *failures = (int(count) for count in counts.groups())
    if not succeeded or any(failures):
        raise BenchError(f"h2load reports failures: {counts.group(0)}")
    if int(data.group(1)) < 5 * succeeded:
        raise BenchError(f"{succeeded} answers hold {data.group(1)} bytes of messages: the server answered with errors")
    return Sample(requests=succeeded, seconds=float(finished.group(1)) * _SECONDS[finished.group(2)])


LOAD = Load(title=title, measure=measure, latency=latency)
