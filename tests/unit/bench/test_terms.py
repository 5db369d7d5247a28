"""Loads and URLs as people write them, and as they write them wrongly."""

import pytest

from aweigh.bench.address import parse_url
from aweigh.bench.generator import connections_of, enough_connections
from aweigh.bench.loads import Terms, parse_duration, parse_loads
from aweigh.bench.plan import Load
from aweigh.core.errors import InvalidSetting


def test_without_a_load_there_are_three() -> None:
    assert [load.concurrency for load in parse_loads("", "", Terms())] == [1, 8, 32]


def test_loads_closed_ones_first() -> None:
    loads = parse_loads("1, 8", "1000,2.5", Terms(duration="500ms", warmup="0", arrival="constant", connections=7))
    assert [(load.concurrency, load.rate, load.is_open) for load in loads] == [
        (1, 0, False),
        (8, 0, False),
        (0, 1000, True),
        (0, 2.5, True),
    ]
    assert {(load.duration_s, load.warmup_s, load.arrival, load.connections) for load in loads} == {(0.5, 0.0, "constant", 7)}


@pytest.mark.parametrize(
    ("concurrency", "rate", "terms", "message"),
    [
        ("x", "", Terms(), "'x' is no number"),
        ("1.5", "", Terms(), "'1.5' is no number"),
        ("0", "", Terms(), "expected above 0"),
        ("", "-1", Terms(), "expected above 0"),
        ("", "nan", Terms(), "expected above 0"),
        ("", "inf", Terms(), "at most"),
        ("1,,2", "", Terms(), "'' is no number"),
        ("100000", "", Terms(), "at most 10000"),
        ("1," * 70 + "1", "", Terms(), "at most 64"),
        ("1", "", Terms(duration="soon"), "--duration is 'soon': not a time"),
        ("1", "", Terms(duration="0s"), "--duration is 0 s"),
        ("1", "", Terms(warmup="-1s"), "--warmup"),
        ("1", "", Terms(timeout="2 weeks"), "--timeout"),
        ("1", "", Terms(processes=0), "--processes is 0"),
        ("1", "", Terms(processes=2), "for 1 users"),
        ("1", "", Terms(connections=-1), "--connections is -1"),
        ("1", "", Terms(seed=-1), "--seed is -1"),
    ],
)
def test_loads_that_are_none(concurrency: str, rate: str, terms: Terms, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        parse_loads(concurrency, rate, terms)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("10", 10), ("500ms", 0.5), ("2m", 120), ("2 min", 120), ("1h", 3600), ("250us", 250e-6)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration("--x", text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("url", "dialect", "path", "model", "version"),
    [
        ("http://h:8080/v2/models/iris", "open-inference-rest", "/v2/models/iris/infer", "iris", ""),
        ("http://h:8080/v2/models/iris/infer", "open-inference-rest", "/v2/models/iris/infer", "iris", ""),
        ("https://h/prefix/v2/models/a%20b/versions/3/", "open-inference-rest", "/prefix/v2/models/a%20b/versions/3/infer", "a b", "3"),
        ("http://h/predict/iris", "predict", "/predict/iris", "iris", ""),
        ("http://h/predict/iris/versions/2", "predict", "/predict/iris/versions/2", "iris", "2"),
        ("grpc://h:8080/iris", "open-inference-grpc", "/inference.GRPCInferenceService/ModelInfer", "iris", ""),
        ("grpcs://h/iris:2", "open-inference-grpc", "/inference.GRPCInferenceService/ModelInfer", "iris", "2"),
        ("grpc://h/iris/versions/2", "open-inference-grpc", "/inference.GRPCInferenceService/ModelInfer", "iris", "2"),
        ("http://h/v1/models/half:predict?x=1", "raw", "/v1/models/half:predict?x=1", "", ""),
        ("http://[::1]:8080/v2/models/iris", "open-inference-rest", "/v2/models/iris/infer", "iris", ""),
    ],
)
def test_urls(url: str, dialect: str, path: str, model: str, version: str) -> None:
    found = parse_url(url)
    assert (found.dialect, found.target.path, found.model, found.version) == (dialect, path, model, version)
    assert found.target.tls is url.startswith(("https", "grpcs"))


@pytest.mark.parametrize(
    "url",
    ["", "iris", "127.0.0.1:8080", "ftp://h/x", "http://", "http://h", "http://h/", "grpc://h", "grpc://h/a/b/c", "http://h:99999/x", "http://u:p@h/v2/models/x",
     "http://h/x#y", "http://h/a b", "http://h/x\r\nevil: 1"],
)  # fmt: skip
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse_url(url)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_connections_that_a_load_takes() -> None:
    rest, grpc = parse_url("http://h/v2/models/m").target, parse_url("grpc://h/m").target
    assert connections_of(Load(concurrency=32), rest) == 32
    assert connections_of(Load(rate=10), rest) == 64
    assert connections_of(Load(rate=10, connections=9), rest) == 9
    assert connections_of(Load(concurrency=32), grpc) == 4
    assert connections_of(Load(concurrency=2), grpc) == 2
    assert connections_of(Load(rate=10, connections=9), grpc) == 9
    with pytest.raises(InvalidSetting, match="9 connections for 32 users"):
        connections_of(Load(concurrency=32, connections=9), rest)


def test_connections_that_a_search_takes() -> None:
    rest, grpc = parse_url("http://h/v2/models/m").target, parse_url("grpc://h/m").target
    assert [enough_connections(rest, rate, 0.02) for rate in (10, 5000, 1e6)] == [64, 200, 1024]
    assert [enough_connections(grpc, rate, 0.02) for rate in (10, 20_000, 1e6)] == [4, 13, 64]
