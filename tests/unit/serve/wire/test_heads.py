"""Heads of HTTP/1.1: what is refused, what is understood, and which heads the cache may keep."""

import pytest
from tests.serving.kit import BODY, Rig, answers, exchange, get, post, rig
from tests.serving.smuggling import LINE, NO_REQUESTS, SMUGGLING

from aweigh.core.errors import AweighError
from aweigh.serve.message import Head
from aweigh.serve.wire.heads import HeadCache, parse_head


@pytest.fixture
def server() -> Rig:
    return rig()


def parse(server: Rig, raw: bytes) -> Head:
    return parse_head(raw, server.listener.dispatcher, server.listener.limits)


@pytest.mark.parametrize("lines", SMUGGLING.values(), ids=SMUGGLING)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_ends(server: Rig, lines: str) -> None:
    raw = f"{LINE}\r\n{lines}\r\n\r\n".encode("latin-1")
    with pytest.raises(AweighError):
        parse(server, raw)
    found = exchange(server, raw + b"hello" + post())
    assert [(answer.status // 100, answer.headers["connection"]) for answer in found] == [(4, "close")]


@pytest.mark.parametrize("raw", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_what_is_no_request_is_refused(server: Rig, raw: bytes) -> None:
    found = exchange(server, raw)
    assert [(answer.status, answer.headers["connection"]) for answer in found] == [(400, "close")]
    assert server.listener.connections().refused == 1


def test_http_1_0_knows_no_interim_answers(server: Rig) -> None:
    head = b"POST /v2/models/iris/infer HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    _, pipe = server.open()
    pipe.send(head)
    assert pipe.take() == b""
    pipe.send(BODY)
    assert [answer.status for answer in answers(pipe.take())] == [200]


def test_heads_have_a_limit_in_bytes_and_in_lines(server: Rig) -> None:
    big = get("/v2", "X: " + "y" * 65536)
    many = get("/v2", *(f"X-{at}: y" for at in range(1000)))
    endless = b"GET /v2 HTTP/1.1\r\nX: " + b"y" * 65536
    for raw in (big, many, endless):
        assert [answer.status for answer in exchange(server, raw)] == [431]


def test_a_declared_length_beyond_the_limit_is_refused_at_once() -> None:
    server = rig(max_body_bytes=1000)
    assert [answer.status for answer in exchange(server, post(body=b"", length=1001))] == [413]
    assert [answer.status for answer in exchange(server, post(body=b"", length=2**30))] == [413]


def test_what_is_understood(server: Rig) -> None:
    head = parse(server, b"GET http://elsewhere/v2/models/iris?x=1#y HTTP/1.1\r\nHost: a\r\nCookie: a\r\nX: 1\r\nX: 2\r\n\r\n")
    assert (head.path, head.query, head.params, head.headers[b"x"]) == ("/v2/models/iris", "x=1", {"name": "iris"}, b"1, 2")
    assert head.keep_alive
    assert not parse(server, get("/v2", "Connection: Close")).keep_alive
    assert not parse(server, b"GET /v2 HTTP/1.0\r\n\r\n").keep_alive
    assert parse(server, b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive
    assert parse(server, post("/v2", b"", "Expect: 100-continue")).expects_continue
    assert parse(server, f"{LINE}\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n".encode()).chunked
    upgrade = parse(server, get("/v2", "Connection: Upgrade", "Upgrade: websocket"))
    assert upgrade.route.template == "/v2"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("grpc-timeout: 5S", 5.0), ("grpc-timeout: 250m", 0.25), ("grpc-timeout: 1H", 3600.0), ("grpc-timeout: 10u", 1e-5),
        ("grpc-timeout: 5x", None), ("grpc-timeout: 55", None), ("grpc-timeout: S", None), ("grpc-timeout: 123456789S", None),
        ("x-request-timeout-ms: 100", 0.1), ("x-request-timeout-ms: soon", None), ("x-request-timeout-ms: -1", None),
    ],
)  # fmt: skip
def test_deadlines_that_cannot_be_read_are_ignored(server: Rig, header: str, seconds: float | None) -> None:
    assert parse(server, get("/v2", header)).timeout_s == (pytest.approx(seconds) if seconds is not None else None)


def test_a_request_id_is_taken_over_only_if_it_is_harmless(server: Rig) -> None:
    ids = [
        exchange(server, get("/v2", f"X-Request-Id: {given}"))[0].headers["x-request-id"] for given in ("abc-1.2", 'a"b', "x" * 129, "a b")
    ]
    assert ids[0] == "abc-1.2"
    assert len(set(ids[1:])) == 3
    assert all(given.startswith(ids[1].partition("-")[0]) for given in ids[1:])


def cached(server: Rig) -> int:
    return len(server.listener.heads.young)


def test_equal_plain_heads_share_one_decision(server: Rig) -> None:
    exchange(server, post())
    first = next(iter(server.listener.heads.young.values()))
    exchange(server, post() + post())
    assert cached(server) == 1
    assert next(iter(server.listener.heads.young.values())) is first


@pytest.mark.parametrize(
    "raw",
    [
        post("/v2/models/iris/infer", BODY, "Expect: 100-continue"),
        post("/v2/models/iris/infer", BODY, "X-Request-Id: 1"),
        post("/v2/models/iris/infer", BODY, "Connection: close"),
        post("/v2/models/iris/infer", BODY, "Upgrade: h2c"),
        post("/v2/models/iris/infer", BODY, "Content-Encoding: gzip"),
        post("/v2/models/iris/infer", BODY, "X: " + "y" * 5000),
        get("/v2", method="HEAD"),
        get("/v2/models/%00"),
        b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        f"{LINE}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
    ],
)
def test_heads_that_say_more_than_route_and_length_are_decided_each_time(server: Rig, raw: bytes) -> None:
    assert len(exchange(server, raw)) >= 1
    assert cached(server) == 0


def test_a_refused_key_is_never_remembered_and_never_serves_another_head() -> None:
    from hashlib import sha256

    server = rig(keys={"one": sha256(b"right-right-right").digest()})
    for key, status in (("wrong", 401), ("right-right-right", 200), ("wrong", 401), ("right-right-right", 200)):
        assert exchange(server, post("/v2/models/iris/infer", BODY, f"Authorization: Bearer {key}"))[0].status == status
    assert exchange(server, post())[0].status == 401
    assert cached(server) == 1


def test_the_cache_is_bounded_and_keeps_what_is_used(server: Rig) -> None:
    cache = HeadCache()
    head = parse(server, get("/v2"))
    for at in range(5000):
        cache.keep(b"%d" % at, head)
        if at % 100 == 0:
            _ = cache.young.get(b"0") or cache.find_old(b"0") or cache.keep(b"0", head)
    assert len(cache.young) + len(cache._old) <= 1024
    assert cache.young.get(b"0") or cache.find_old(b"0")
    assert cache.find_old(b"1") is None
    cache.clear()
    assert not cache.young
    assert cache.find_old(b"0") is None
