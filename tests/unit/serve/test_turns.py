"""Requests of one turn of the loop: they run as one call, and each gets the answer that it would have got alone, whatever the others hold."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tests.serving.kit import HeldThreads, Http2Peer, Pipe, Rig, answer, answers, echo, echo_signature, get, infer_message, model, post, rig

from aweigh.core.signature import BATCH
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.engine.model import LoadedModel


def usual(values: Sequence[float], rows: int = 1) -> bytes:
    return json.dumps({"inputs": [{"name": "X", "shape": [rows, 4], "datatype": "FP32", "data": list(values)}]}).encode()


def calls(of: LoadedModel) -> list[Tensors]:
    """What the session was called with."""
    made: list[Tensors] = of.session.calls  # type: ignore[attr-defined]  # a FakeSession
    return made


async def open_pipes(on: Rig, count: int, first: bytes = b"") -> list[Pipe]:
    """Connections that have asked once, so that what is known of their requests is known."""
    pipes = [on.open()[1] for _ in range(count)]
    for pipe in pipes:
        pipe.send(first or post(body=usual([0, 0, 0, 0])))
        await turns()
        pipe.take()
    return pipes


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def alone(body: bytes, path: str = "/v2/models/iris/infer") -> tuple[int, bytes]:
    """What a server without batching answers."""
    on = rig(model())
    _, pipe = on.open()
    pipe.send(post(path, body))
    [reply] = answers(pipe.take())
    return reply.status, reply.body


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(main())


def test_requests_of_one_turn_are_one_call() -> None:
    async def scene() -> None:
        iris = model(turn_rows=256)
        pipes = await open_pipes(rig(iris), 5)
        before = len(calls(iris))
        for at, pipe in enumerate(pipes):
            pipe.send(post(body=usual([at, 1, 2, 3])))
            assert pipe.take() == b""
        await turns()
        assert len(calls(iris)) == before + 1
        assert calls(iris)[-1]["X"].shape == (5, 4)
        for at, pipe in enumerate(pipes):
            [reply] = answers(pipe.take())
            assert (reply.status, reply.body) == alone(usual([at, 1, 2, 3]))
        assert (iris.statistics.succeeded, iris.statistics.rows, iris.statistics.executions) == (10, 10, before + 1)
        assert iris.statistics.turns == 0

    run(scene)


def test_a_request_that_is_alone_waits_for_nothing_but_its_turn() -> None:
    async def scene() -> None:
        [pipe] = await open_pipes(rig(model(turn_rows=256)), 1)
        pipe.send(post(body=usual([1, 2, 3, 4])))
        await turns()
        assert answers(pipe.take())[0].status == 200

    run(scene)


def test_requests_of_several_rows_share_a_call_and_each_gets_its_own_rows() -> None:
    async def scene() -> None:
        iris = model(turn_rows=256)
        on = rig(iris)
        bodies = [usual(range(4 * rows), rows) for rows in (1, 3, 2, 1)]
        for body in bodies:
            await open_pipes(on, 1, post(body=body))
        pipes, before = [on.open()[1] for _ in bodies], len(calls(iris))
        for pipe, body in zip(pipes, bodies, strict=True):
            pipe.send(post(body=body))
        await turns()
        assert len(calls(iris)) == before + 1
        for pipe, body in zip(pipes, bodies, strict=True):
            [reply] = answers(pipe.take())
            assert (reply.status, reply.body) == alone(body)

    run(scene)


def test_a_batch_holds_no_more_rows_than_it_may() -> None:
    async def scene() -> None:
        iris = model(turn_rows=3)
        pipes, before = await open_pipes(rig(iris), 7), len(calls(iris))
        for pipe in pipes:
            pipe.send(post(body=usual([1, 2, 3, 4])))
        await turns()
        assert [len(each["X"]) for each in calls(iris)[before:]] == [3, 3, 1]
        assert all(answers(pipe.take())[0].status == 200 for pipe in pipes)

    run(scene)


def poisoned(inputs: Tensors) -> Sequence[Tensor]:
    if (np.asarray(inputs["X"])[:, 0] == 666).any():
        raise ValueError("poison")
    return answer(inputs)


def test_one_bad_row_fails_alone() -> None:
    async def scene() -> None:
        iris = model(poisoned, turn_rows=256)
        pipes = await open_pipes(rig(iris), 32)
        for at, pipe in enumerate(pipes):
            pipe.send(post(body=usual([666 if at == 17 else at, 1, 2, 3])))
        await turns()
        for at, pipe in enumerate(pipes):
            [reply] = answers(pipe.take())
            assert reply.status == (500 if at == 17 else 200)
            if at != 17:
                assert reply.body == alone(usual([at, 1, 2, 3]))[1]
        assert sum(iris.statistics.failed.values()) == 1
        assert iris.statistics.turns == 0

    run(scene)


@pytest.mark.parametrize(
    "data",
    ["1,2,3", "1,2,3,4,5", "", "1,2,,4", '1,2,3,"', '",1,2,3', "[1,2,3,4]", "1,2],[3,4", "1e999,1,1,1", "1e300,1,1,1", "1,2,3,null", "NaN,1,2,3",
     "01,2,3,4", "1,2,3,4 ", "1,2,\xff,4", "1,2,3,4]}]}//", "true,1,2,3"],
)  # fmt: skip
def test_whatever_stands_between_the_brackets_is_said_to_its_sender_alone(data: str) -> None:
    async def scene() -> None:
        iris = model(turn_rows=256)
        pipes = await open_pipes(rig(iris), 3)
        opening, closing = usual([0, 0, 0, 0]).split(b"0, 0, 0, 0")
        odd = opening + data.encode("latin-1") + closing
        bodies = [usual([1, 2, 3, 4]), odd, usual([5, 6, 7, 8])]
        for pipe, body in zip(pipes, bodies, strict=True):
            pipe.send(post(body=body))
        await turns()
        for pipe, body in zip(pipes, bodies, strict=True):
            [reply] = answers(pipe.take())
            assert (reply.status, reply.body) == alone(body)

    run(scene)


def test_two_wrongs_do_not_make_a_right() -> None:
    """Three numbers here and five there are eight, but nobody's."""

    async def scene() -> None:
        iris = model(turn_rows=256)
        pipes = await open_pipes(rig(iris), 2)
        bodies = [usual([1, 2, 3]), usual([4, 5, 6, 7, 8])]
        for pipe, body in zip(pipes, bodies, strict=True):
            pipe.send(post(body=body))
        await turns()
        assert [answers(pipe.take())[0].status for pipe in pipes] == [400, 400]

    run(scene)


def test_who_has_left_is_not_run_for() -> None:
    async def scene() -> None:
        iris = model(turn_rows=256)
        pipes, before = await open_pipes(rig(iris), 3), len(calls(iris))
        for pipe in pipes:
            pipe.send(post(body=usual([1, 2, 3, 4])))
        pipes[1].protocol.connection_lost(None)
        await turns()
        assert [len(each["X"]) for each in calls(iris)[before:]] == [2]
        assert [len(answers(pipe.take())) for pipe in pipes] == [1, 0, 1]

    run(scene)


def test_a_deadline_that_has_passed_is_not_run_for() -> None:
    async def scene() -> None:
        iris = model(turn_rows=256)
        pipes, before = await open_pipes(rig(iris), 2), len(calls(iris))
        pipes[0].send(post("/v2/models/iris/infer", usual([1, 2, 3, 4]), "X-Request-Timeout-Ms: 0"))
        pipes[1].send(post("/v2/models/iris/infer", usual([1, 2, 3, 4]), "X-Request-Timeout-Ms: 5000"))
        await turns()
        assert [len(each["X"]) for each in calls(iris)[before:]] == [1]
        assert [answers(pipe.take())[0].status for pipe in pipes] == [504, 200]

    run(scene)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def scene() -> None:
        [pipe] = await open_pipes(rig(model(turn_rows=256)), 1)
        pipe.send(b"".join(post(body=usual([at, 0, 0, 0])) for at in range(5)))
        await turns(20)
        assert [json.loads(reply.body)["outputs"][0]["data"] for reply in answers(pipe.take())] == [[at] for at in range(5)]

    run(scene)


def test_every_door_shares_the_turn() -> None:
    """JSON of another form, the plain dialect and the usual one: all are answered as they are alone."""

    async def scene() -> None:
        iris = model(turn_rows=256)
        pipes = await open_pipes(rig(iris), 4)
        named = b'{"id":"a","inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[[1,2,3,4]]}]}'
        sent = [
            ("/v2/models/iris/infer", usual([1, 2, 3, 4])),
            ("/v2/models/iris/infer", named),
            ("/v2/models/iris/infer", named.replace(b'"a"', b'"b"')),
            ("/v2/models/iris/versions/1/infer", usual([4, 3, 2, 1])),
        ]
        for pipe, (path, body) in zip(pipes, sent, strict=True):
            pipe.send(post(path, body))
        await turns()
        for pipe, (path, body) in zip(pipes, sent, strict=True):
            [reply] = answers(pipe.take())
            assert (reply.status, reply.body) == alone(body, path)

    run(scene)


def test_the_plain_dialect_waits_for_its_turn_too() -> None:
    async def scene() -> None:
        iris = model(turn_rows=256)
        on = rig(iris)
        pipes = [on.open()[1] for _ in range(3)]
        for at, pipe in enumerate(pipes):
            pipe.send(post("/predict/iris", json.dumps({"a": at, "b": 0, "c": 0, "d": 0}).encode()))
        await turns()
        assert len(calls(iris)) == 1
        found = [json.loads(answers(pipe.take())[0].body)["predictions"][0]["label"] for pipe in pipes]
        assert found == [0, 1, 2]

    run(scene)


def test_grpc_requests_of_one_turn_are_one_call_and_equal_those_alone() -> None:
    async def scene() -> None:
        iris, other = model(turn_rows=256), model()
        together, apart = Http2Peer(rig(iris)), Http2Peer(rig(other))
        for peer in (together, apart):
            peer.call(infer_message([0, 0, 0, 0]).SerializeToString())
            peer.pump()
            await turns()
            peer.pump()
        before = len(calls(iris))
        values = [[float(at), 1, 2, 3] for at in range(7)]
        streams = [[peer.call(infer_message(row).SerializeToString()) for row in values] for peer in (together, apart)]
        together.pump(), apart.pump()
        await turns()
        together.pump()
        assert len(calls(iris)) == before + 1
        for mine, theirs in zip(*streams, strict=True):
            assert together.response(mine).data == apart.response(theirs).data
            assert together.response(mine).grpc_status == 0
        assert iris.statistics.succeeded == 8

    run(scene)


def test_a_bad_row_over_grpc_fails_alone() -> None:
    async def scene() -> None:
        peer = Http2Peer(rig(model(poisoned, turn_rows=256)))
        peer.call(infer_message([0, 0, 0, 0]).SerializeToString())
        peer.pump()
        await turns()
        streams = [peer.call(infer_message([666 if at == 2 else at, 1, 2, 3]).SerializeToString()) for at in range(5)]
        peer.pump()
        await turns()
        peer.pump()
        assert [peer.response(stream).grpc_status for stream in streams] == [0, 0, 13, 0, 0]

    run(scene)


def test_texts_and_half_floats_are_cut_apart_too() -> None:
    async def scene() -> None:
        for datatype, data in ((Datatype.BYTES, ["a,b", "]}"]), (Datatype.INT8, [1, -1]), (Datatype.BOOL, [True, False])):
            of = echo_signature(datatype, (BATCH, 2))
            on = rig(model(echo, of=of, turn_rows=8))
            body = json.dumps({"inputs": [{"name": "X", "shape": [1, 2], "datatype": datatype.value, "data": data}]}).encode()
            pipes = [on.open()[1] for _ in range(2)]
            for pipe in pipes:
                pipe.send(post(body=body))
            await turns()
            for pipe in pipes:
                assert json.loads(answers(pipe.take())[0].body)["outputs"][0]["data"] == data

    run(scene)


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["usual", "nested", "named", "wrong", "gone"]), st.lists(numbers, min_size=4, max_size=4)),
        min_size=1,
        max_size=9,
    )
)
def test_any_mix_is_answered_as_each_is_alone(requests: list[tuple[str, list[float]]]) -> None:
    async def scene() -> None:
        pipes = await open_pipes(rig(model(turn_rows=4)), len(requests))
        bodies = []
        for (kind, values), pipe in zip(requests, pipes, strict=True):
            body = usual(values)
            if kind == "nested":
                body = body.replace(b'"data": [', b'"data": [[').replace(b"]}]}", b"]]}]}")
            elif kind == "named":
                body = body[:-1] + b',"id":"x"}'
            elif kind == "wrong":
                body = usual(values[:3])
            bodies.append(body)
            pipe.send(post(body=body))
            if kind == "gone":
                pipe.protocol.connection_lost(None)
        await turns(4)
        for (kind, _), pipe, body in zip(requests, pipes, bodies, strict=True):
            replies = answers(pipe.take())
            assert len(replies) == (0 if kind == "gone" else 1)
            if replies:
                assert (replies[0].status, replies[0].body) == alone(body)

    run(scene)


def test_the_configuration_tells_how_requests_run_together() -> None:
    on = rig(model(turn_rows=64))
    _, pipe = on.open()
    pipe.send(get("/v2/models/iris/config"))
    facts = json.loads(answers(pipe.take())[0].body)["parameters"]
    assert facts["batch_rows"]["string_value"] == "64"
    assert facts["batch_reason"]["string_value"] == "requests of one turn of the event loop run together"


def test_metrics_count_calls_apart_from_requests() -> None:
    async def scene() -> None:
        on = rig(model(turn_rows=64))
        pipes = await open_pipes(on, 3)
        for pipe in pipes:
            pipe.send(post(body=usual([1, 2, 3, 4])))
        await turns()
        pipe.take()
        pipe.send(get("/metrics"))
        text = answers(pipe.take())[0].body.decode()
        labels = 'model="iris",version="1"'
        assert f'aweigh_requests_total{{{labels},outcome="ok"}} 6\n' in text
        assert f"aweigh_executions_total{{{labels}}} 4\n" in text
        assert f'aweigh_batch_rows_bucket{{{labels},le="1"}} 3\n' in text
        assert f'aweigh_batch_rows_bucket{{{labels},le="4"}} 4\n' in text
        assert f"aweigh_batch_rows_sum{{{labels}}} 6\n" in text

    run(scene)


def test_answers_that_cannot_be_encoded_leave_nobody_waiting() -> None:
    def odd(inputs: Tensors) -> Sequence[Tensor]:
        return [np.full(len(inputs["X"]), {1}, dtype=object), np.zeros((len(inputs["X"]), 3), dtype=np.float32)]

    async def scene() -> None:
        on = rig(model(odd, turn_rows=256))
        pipes = [on.open()[1] for _ in range(3)]
        for _ in range(2):  # the first time as tensors, then as the usual request
            for pipe in pipes:
                pipe.send(post(body=usual([1, 2, 3, 4])))
            await turns()
            assert [answers(pipe.take())[0].status for pipe in pipes] == [500, 500, 500]

    run(scene)


def test_known_requests_of_more_rows_than_run_on_the_loop_go_to_a_thread_each_time() -> None:
    async def scene() -> None:
        threads = HeldThreads()
        iris = model(turn_rows=16, threads=threads)
        on = rig(iris)
        peer, pipe = Http2Peer(on), on.open()[1]
        for rows, held in ((16, 0), (17, 1), (1000, 1)):
            for _ in range(3):
                before = len(calls(iris))
                pipe.send(post(body=usual([1.0] * (4 * rows), rows)))
                await turns()
                assert (len(threads.held), len(calls(iris)) - before) == (held, 1 - held)
                if held:
                    threads.release()
                [reply] = answers(pipe.take())
                assert reply.status == 200
                stream = peer.call(infer_message([1.0] * (4 * rows)).SerializeToString())
                before = len(calls(iris))
                peer.pump()
                await turns()
                assert (len(threads.held), len(calls(iris)) - before) == (held, 1 - held)
                if held:
                    threads.release()
                await turns()
                peer.pump()
                assert peer.response(stream).grpc_status == 0

    run(scene)


def test_more_rows_than_the_server_takes_are_refused_each_time() -> None:
    async def scene() -> None:
        on = rig(model(turn_rows=16), max_rows=8)
        peer, pipe = Http2Peer(on), on.open()[1]
        for _ in range(3):
            pipe.send(post(body=usual([1.0] * 36, 9)))
            stream = peer.call(infer_message([1.0] * 36).SerializeToString())
            peer.pump()
            await turns()
            peer.pump()
            [reply] = answers(pipe.take())
            assert reply.status == 400
            assert b"batch-size must be <= 8" in reply.body
            assert "batch-size must be <= 8" in peer.response(stream).grpc_text

    run(scene)
