"""One HTTP/1.1 connection over a transport in memory: order, bodies in pieces, slow and leaving clients, draining."""

import asyncio

import numpy as np
import pytest
from tests.serving.kit import BODY, HeldThreads, Rig, answer, answers, exchange, get, model, post, rig

CHUNKED = b"POST /v2/models/iris/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def server() -> Rig:
    return rig()


@pytest.fixture
def threads() -> HeldThreads:
    return HeldThreads()


@pytest.fixture
def mixed(threads: HeldThreads) -> Rig:
    """`iris` answers at once, `slow` when released."""
    return rig(model(), model(name="slow", threads=threads))


SLOW = "/v2/models/slow/infer"


def names(raw: bytes) -> list[str]:
    return [found.body.partition(b'"model_name":"')[2].partition(b'"')[0].decode() or str(found.status) for found in answers(raw)]


def test_a_request_is_answered_byte_by_byte_as_in_one_piece(server: Rig) -> None:
    raw = post() + CHUNKED + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n" + get("/v2/health/live")
    whole = exchange(server, raw)
    _, pipe = server.open()
    for byte in raw:
        pipe.send(bytes((byte,)))
    found = answers(pipe.take())
    assert [(one.status, one.body) for one in found] == [(one.status, one.body) for one in whole]
    assert [one.status for one in found] == [200, 200, 200]


def test_split_at_every_byte(server: Rig) -> None:
    raw = post() + get("/v2")
    for at in range(len(raw)):
        _, pipe = server.open()
        pipe.send(raw[:at])
        pipe.send(raw[at:])
        assert [one.status for one in answers(pipe.take())] == [200, 200], at


def test_pipelined_requests_are_answered_in_order_though_one_takes_longer(mixed: Rig, threads: HeldThreads) -> None:
    _, pipe = mixed.open()
    pipe.send(post() + post(SLOW) + post() + post(SLOW) + get("/nowhere"))
    assert names(pipe.take()) == ["iris"]
    pipe.send(post())
    assert pipe.take() == b""
    threads.release()
    assert names(pipe.take()) == ["slow", "iris"]
    threads.release()
    assert names(pipe.take()) == ["slow", "404", "iris"]


def test_bytes_that_come_while_a_request_is_answered_are_bounded(mixed: Rig, threads: HeldThreads) -> None:
    _, pipe = mixed.open()
    pipe.send(post(SLOW))
    pipe.send(post() * 1000)
    assert not pipe.reading
    threads.release()
    assert pipe.reading
    assert names(pipe.take()) == ["slow"] + ["iris"] * 1000


def test_expect_continue(server: Rig) -> None:
    _, pipe = server.open()
    raw = post("/v2/models/iris/infer", BODY, "Expect: 100-continue")
    pipe.send(raw[: -len(BODY)])
    assert pipe.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    pipe.send(BODY)
    assert names(pipe.take()) == ["iris"]
    pipe.send(raw)
    assert names(pipe.take()) == ["iris"]


def test_a_request_that_is_refused_by_its_head_is_answered_before_its_body(server: Rig) -> None:
    from hashlib import sha256

    guarded = rig(keys={"one": sha256(b"k" * 20).digest()})
    for raw in (post(body=b"", length=10_000_000), CHUNKED, post("/v2/models/iris/infer", b"", "Expect: 100-continue", length=100)):
        _, pipe = guarded.open()
        pipe.send(raw)
        assert [(one.status, one.headers["connection"]) for one in answers(pipe.take())] == [(401, "close")]
        assert pipe.ended
        pipe.send(b"x" * 100_000)
        assert pipe.take() == b""
        assert not pipe.aborted
        pipe.send(b"x" * 1_000_000)
        assert pipe.aborted


def test_head_has_the_length_and_no_body(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(get("/v2", method="HEAD"))
    found = answers(pipe.take(), head_only=True)[0]
    assert (found.status, found.headers["content-length"]) == (200, str(len(exchange(server, get("/v2"))[0].body)))


def test_close_and_http10(server: Rig) -> None:
    for raw, closed in (
        (get("/v2", "Connection: close"), True),
        (b"GET /v2 HTTP/1.0\r\n\r\n", True),
        (b"GET /v2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
        (get("/v2"), False),
    ):
        _, pipe = server.open()
        pipe.send(raw + get("/v2/health/live"))
        found = answers(pipe.take())
        assert len(found) == (1 if closed else 2)
        assert pipe.closed is closed


def test_methods_and_paths_that_are_nobodys(server: Rig) -> None:
    found = exchange(server, get("/v2/models/iris/infer") + post("/v2") + get("/nowhere") + get("/v2/models/" + "a/" * 30))
    assert [(one.status, one.body) for one in found] == [
        (405, b'{"error":"Method Not Allowed"}'),
        (405, b'{"error":"Method Not Allowed"}'),
        (404, b'{"error":"Not Found"}'),
        (404, b'{"error":"Not Found"}'),
    ]
    assert found[0].headers["allow"] == "POST"


def test_a_grpc_method_in_http1_is_told_so(server: Rig) -> None:
    found = exchange(server, post("/inference.GRPCInferenceService/ServerLive", b"\0\0\0\0\0", "Content-Type: application/grpc"))
    assert found[0].status == 501
    assert b"a gRPC method was called over HTTP/1.1" in found[0].body


def test_a_client_that_leaves_cancels_its_request(mixed: Rig, threads: HeldThreads) -> None:
    _, pipe = mixed.open()
    pipe.send(post(SLOW))
    _, caller, _ = threads.held[0]
    assert not caller.cancelled
    pipe.protocol.connection_lost(None)
    assert caller.cancelled
    assert mixed.listener.open_connections == 0
    threads.release()
    assert pipe.take() == b""


def test_a_client_that_closes_its_half_gets_its_answers_and_the_end(mixed: Rig, threads: HeldThreads) -> None:
    _, pipe = mixed.open()
    pipe.send(post(SLOW) + post())
    assert pipe.protocol.eof_received()
    assert pipe.take() == b"HTTP/1.1 100 Continue\r\n\r\n"  # to which a client that has left answers with a reset
    threads.release()
    assert names(pipe.take()) == ["slow", "iris"]
    assert pipe.closed
    _, pipe = mixed.open()
    pipe.send(post()[:-1])
    assert not pipe.protocol.eof_received()


def test_a_client_that_does_not_read_is_not_answered_further(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(post())
    pipe.protocol.pause_writing()
    assert not pipe.reading
    pipe.send(post() * 3)
    assert names(pipe.take()) == ["iris"]
    pipe.protocol.resume_writing()
    assert pipe.reading
    assert names(pipe.take()) == ["iris"] * 3
    pipe.protocol.pause_writing()
    server.tick(0.1)
    server.tick(31)
    assert pipe.aborted


def test_a_client_that_stops_reading_in_the_middle_of_pipelined_requests(server: Rig) -> None:
    _, pipe = server.open()
    write, count = pipe.write, 0

    def stalls(data: bytes) -> None:
        nonlocal count
        write(data)
        count += 1
        if count == 2:
            pipe.protocol.pause_writing()

    pipe.write = stalls  # type: ignore[method-assign]
    pipe.send(post() * 5)
    assert names(pipe.take()) == ["iris"] * 2
    assert pipe.protocol.eof_received()
    pipe.protocol.resume_writing()
    assert names(pipe.take()) == ["iris"] * 3
    assert pipe.closed


def test_slow_heads_and_bodies_have_a_deadline_that_does_not_start_anew_with_every_byte(server: Rig) -> None:
    raw = post()
    for begin in (20, len(raw) - 20):
        _, pipe = server.open()
        pipe.send(raw[:begin])
        sent = begin
        for _ in range(40):
            server.tick(1)
            if pipe.ended:
                break
            pipe.send(raw[sent : sent + 1] if sent < len(raw) - 1 else b"")
            sent += 1
        assert [one.status for one in answers(pipe.take())] == [408], begin
        server.tick(6)
        assert pipe.aborted


def test_idle_connections_are_closed_and_used_ones_are_not(server: Rig) -> None:
    _, silent = server.open()
    _, used = server.open()
    used.send(get("/v2"))
    for _ in range(4):
        server.tick(30)
        used.send(get("/v2"))
    assert silent.closed
    assert not used.closed
    server.tick(1)
    server.tick(76)
    assert used.closed
    assert len(answers(used.take())) == 5


def test_an_answer_has_a_deadline(mixed: Rig, threads: HeldThreads) -> None:
    _, pipe = mixed.open()
    pipe.send(post(SLOW) + post())
    mixed.tick(29)
    assert pipe.take() == b""
    mixed.tick(2)
    assert threads.held[0][1].cancelled
    found = answers(pipe.take())
    assert [one.status for one in found] == [504, 200]
    threads.release()
    assert pipe.take() == b""


def test_draining_closes_what_is_idle_and_finishes_what_is_not(mixed: Rig, threads: HeldThreads) -> None:
    (_, idle), (_, busy), (_, recent), (_, partial) = (mixed.open() for _ in range(4))
    idle.send(get("/v2"))
    mixed.tick(1)
    mixed.tick(1)
    busy.send(post(SLOW))
    recent.send(get("/v2"))
    partial.send(post()[:-5])
    mixed.listener.drain()
    assert (idle.closed, busy.closed, recent.closed, partial.closed) == (True, False, False, False)
    threads.release()
    assert answers(busy.take())[0].headers["connection"] == "close"
    assert busy.closed
    partial.send(BODY[-5:])
    assert answers(partial.take())[0].headers["connection"] == "close"
    recent.take()
    recent.send(get("/v2"))
    assert answers(recent.take())[0].headers["connection"] == "close"
    assert recent.closed


def test_a_recently_used_connection_waits_only_a_moment_for_its_last_request(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(get("/v2"))
    _, fresh = server.open()
    server.listener.drain()
    server.tick(0.2)
    assert not pipe.closed
    assert not fresh.closed
    server.tick(0.6)
    assert pipe.closed
    assert fresh.closed


def test_the_first_bytes_of_the_last_connection_do_not_end_a_drain(server: Rig) -> None:
    async def scene() -> list[int]:
        _, pipe = server.open()
        server.listener.drain()
        emptied = asyncio.ensure_future(server.listener.emptied(5))
        await asyncio.sleep(0)
        pipe.send(post()[:-5])
        for _ in range(3):
            await asyncio.sleep(0)
        assert not emptied.done()
        pipe.send(BODY[-5:])
        pipe.protocol.connection_lost(None)
        assert await emptied
        return [one.status for one in answers(pipe.take())]

    assert asyncio.run(scene()) == [200]


def test_who_comes_when_the_last_has_just_gone_is_waited_for_as_long_as_there_is_time(server: Rig) -> None:
    async def scene() -> bool:
        first, _ = server.open()
        server.listener.drain()
        emptied = asyncio.ensure_future(server.listener.emptied(0.05))
        await asyncio.sleep(0)
        first.connection_lost(None)
        server.open()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not emptied.done()
        return await emptied

    assert not asyncio.run(scene())


def test_a_connection_whose_use_was_noted_a_moment_ago_is_not_idle_yet(server: Rig) -> None:
    _, pipe = server.open()
    pipe.send(get("/v2"))
    server.tick(1)  # the round notes the answer that was just given
    pipe.take()
    server.listener.drain()
    assert not pipe.closed
    pipe.send(get("/v2"))
    assert answers(pipe.take())[0].headers["connection"] == "close"
    assert pipe.closed


def test_what_cannot_be_finished_is_answered_503(mixed: Rig, threads: HeldThreads) -> None:
    _, pipe = mixed.open()
    pipe.send(post(SLOW))
    mixed.listener.drain()
    mixed.listener.stop()
    assert [(one.status, one.headers["retry-after"]) for one in answers(pipe.take())] == [(503, "1")]
    assert pipe.closed
    assert not pipe.aborted
    threads.release()
    assert pipe.take() == b""


def test_too_many_connections() -> None:
    server = rig(max_connections=2)
    pipes = [server.open()[1] for _ in range(3)]
    assert [answers(pipe.take()) for pipe in pipes[:2]] == [[], []]
    assert answers(pipes[2].take())[0].status == 503
    assert pipes[2].closed
    pipes[0].protocol.connection_lost(None)
    assert not server.open()[1].closed


def test_a_model_that_raises_is_a_500_that_says_where_it_was_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> list[np.ndarray]:
        raise ValueError("secret detail")

    found = exchange(rig(model(broken)), post() + get("/v2"))
    assert [one.status for one in found] == [500, 200]
    assert b"secret" not in found[0].body
    assert "secret detail" in caplog.text


def test_an_encoder_that_raises_after_a_thread_is_a_500_too(caplog: pytest.LogCaptureFixture, threads: HeldThreads) -> None:
    server = rig(model(lambda inputs: answer(inputs)[:1], threads=threads))
    _, pipe = server.open()
    pipe.send(post("/predict/iris", b'{"a":1,"b":2,"c":3,"d":4}'))
    threads.release()
    found = answers(pipe.take())
    assert [one.status for one in found] == [500]
    assert found[0].headers["x-request-id"].encode() in found[0].body
    assert "ValueError" in caplog.text
