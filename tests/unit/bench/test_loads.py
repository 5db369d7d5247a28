import pytest
from bench.loads import h2load, wrk
from bench.processes import BenchError

WRK = """Running 1s test @ http://127.0.0.1:50875/v2/models/iris/infer
  1 threads and 32 connections
  Latency Distribution
     50%    2.57ms
     75%    2.86ms
     90%    3.54ms
     99%    1.02s
  11828 requests in 1.00s, 3.20MB read
Requests/sec:  11793.85
"""
H2LOAD = """finished in 1.50s, 16808.00 req/s, 2.53MB/s
requests: 16808 total, 16840 started, 16808 done, 16808 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 16808 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.53MB (2655836) total, 525.25KB (537856) headers (space savings 15.79%), 1.35MB (1411872) data
"""


def test_wrk() -> None:
    sample = wrk.parse(WRK)
    assert (sample.requests, sample.seconds, sample.p50_ms, sample.p99_ms) == (11828, 1.0, 2.57, 1020.0)


@pytest.mark.parametrize(
    "text",
    [
        WRK + "  Non-2xx or 3xx responses: 3\n",
        WRK + "  Socket errors: connect 0, read 2, write 0, timeout 0\n",
        WRK.replace("11828 requests", "0 requests"),
        WRK.replace("99%", "98%"),
        "",
    ],
)
def test_wrk_with_failures_is_no_measurement(text: str) -> None:
    with pytest.raises(BenchError):
        wrk.parse(text)


def test_h2load() -> None:
    sample = h2load.parse(H2LOAD)
    assert (sample.requests, sample.seconds) == (16808, 1.5)


@pytest.mark.parametrize(
    "text",
    [H2LOAD.replace("0 failed", "1 failed"), H2LOAD.replace("16808 succeeded", "0 succeeded"), H2LOAD.replace("(1411872)", "(0)"), ""],
)
def test_h2load_with_failures_is_no_measurement(text: str) -> None:
    with pytest.raises(BenchError):
        h2load.parse(text)
