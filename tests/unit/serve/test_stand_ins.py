"""Requests that their first choice fails: another model answers, at every door and on every road through the engine, and the right one is counted."""

import asyncio
import gzip
import json
from collections.abc import Sequence

import numpy as np
import pytest
from tests.serving.kit import BODY, HeldThreads, Http2Peer, Rig, answer, answers, infer_message, model, post, rig

from aweigh.core.errors import Denied, InternalError, InvalidInput, Kind, Overloaded
from aweigh.core.rollout import Plan
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.circuit import Circuit, State
from aweigh.engine.model import LoadedModel
from aweigh.engine.routing import Fallback
from aweigh.engine.trial import Trial
from aweigh.protos import message


def failing(error: Exception | None = None) -> object:
    def run(_: Tensors) -> Sequence[Tensor]:
        raise error or InternalError("it broke")

    return run


def trying(candidate: LoadedModel, stable: LoadedModel | None = None, **plan: object) -> tuple[Rig, Trial]:
    """A rig where every request is the candidate's first."""
    stable = stable or model(version="1")
    on = rig(stable)
    on.dataplane.join(candidate, default=False)
    trial = Trial(on.dataplane, stable, candidate, Plan(name="iris", candidate=2, **{"canary": 1.0, **plan}), lambda: None)  # type: ignore[arg-type]  # what each test says
    trial.begin()
    return on, trial


def versions(raw: bytes) -> list[str]:
    return [json.loads(reply.body)["model_version"] for reply in answers(raw) if reply.status == 200]


@pytest.mark.parametrize("turn_rows", [0, 8])
@pytest.mark.parametrize("broken", [InternalError("it broke"), ValueError("it broke oddly"), Overloaded("too much")])
def test_the_stable_version_answers_what_a_candidate_fails(turn_rows: int, broken: Exception) -> None:
    async def scene() -> None:
        on, trial = trying(model(failing(broken), version="2", turn_rows=turn_rows))  # type: ignore[arg-type]  # a function of tensors
        _, pipe = on.open()
        for _ in range(3):  # the second knows the request's surroundings, and takes the short road
            pipe.send(post() + post("/predict/iris", b"[[1, 2, 3, 4]]"))
            for _ in range(4):
                await asyncio.sleep(0)
            first, second = answers(pipe.take())
            assert json.loads(first.body)["model_version"] == json.loads(second.body)["version"] == "1"
        assert trial.failures == 6
        assert trial.stable.statistics.succeeded == 6

    asyncio.run(scene())


def test_over_grpc_and_in_streams_too() -> None:
    async def scene() -> None:
        on, trial = trying(model(failing(), version="2"))  # type: ignore[arg-type]  # a function of tensors
        peer = Http2Peer(on)
        stream = peer.call(infer_message().SerializeToString())
        peer.pump()
        await asyncio.sleep(0)
        peer.pump()
        said = message("inference.ModelInferResponse").FromString(peer.response(stream).data[5:])
        assert (said.model_version, trial.failures) == ("1", 1)
        stream = peer.call(infer_message().SerializeToString(), "/inference.GRPCInferenceService/ModelStreamInfer")
        peer.pump()
        await asyncio.sleep(0)
        peer.pump()
        said = message("inference.ModelStreamInferResponse").FromString(peer.response(stream).data[5:])
        assert (said.error_message, said.infer_response.model_version) == ("", "1")

    asyncio.run(scene())


def test_a_coded_body_is_decoded_once() -> None:
    async def scene() -> None:
        on, _ = trying(model(failing(), version="2"))  # type: ignore[arg-type]  # a function of tensors
        _, pipe = on.open()
        pipe.send(post("/v2/models/iris/infer", gzip.compress(BODY), "Content-Encoding: gzip"))
        assert versions(pipe.take()) == ["1"]

    asyncio.run(scene())


def test_from_threads_and_when_their_queue_is_full() -> None:
    async def scene() -> None:
        held = HeldThreads()
        on, trial = trying(model(failing(), version="2", threads=held))  # type: ignore[arg-type]  # a function of tensors
        _, pipe = on.open()
        pipe.send(post())
        assert pipe.take() == b""
        _, _, done = held.held.pop()
        done(None, InternalError("its process died"), 0.0)
        assert versions(pipe.take()) == ["1"]

        held.submit = refuse_all  # type: ignore[method-assign, assignment]
        pipe.send(post())
        assert versions(pipe.take()) == ["1"]
        assert trial.failures == 2

    asyncio.run(scene())


def test_the_last_failures_are_told_with_their_requests_ids_but_those_that_both_failed() -> None:
    async def scene() -> None:
        on, trial = trying(model(failing(InternalError("it broke")), version="2"))  # type: ignore[arg-type]  # a function of tensors
        _, pipe = on.open()
        for number in range(8):
            pipe.send(post("/v2/models/iris/infer", BODY, f"X-Request-Id: mine-{number}"))
        pipe.send(post("/v2/models/iris/infer", b'{"inputs":[]}', "X-Request-Id: bad"))
        assert trial.errors == tuple(f"it broke (request mine-{number})" for number in range(4, 8))

    asyncio.run(scene())


def test_a_version_that_is_closed_by_then_is_not_asked_and_the_candidates_own_failure_is_told() -> None:
    async def scene() -> None:
        held = HeldThreads()
        on, trial = trying(model(version="2", threads=held))
        _, pipe = on.open()
        pipe.send(post())
        trial.end()  # promoted while the request was under way
        trial.stable.refuse()
        trial.stable.close()
        _, _, done = held.held.pop()
        done(None, InternalError("it broke"), 0.0)
        [reply] = answers(pipe.take())
        assert (reply.status, json.loads(reply.body)["error"]) == (500, "it broke")

    asyncio.run(scene())


def test_what_both_fail_is_the_requests_own_fault() -> None:
    async def scene() -> None:
        on, trial = trying(model(failing(InvalidInput("not this")), version="2"))  # type: ignore[arg-type]  # a function of tensors
        _, pipe = on.open()
        pipe.send(post(body=b'{"inputs":[]}') + post())
        bad, good = answers(pipe.take())
        assert (bad.status, good.status, trial.failures) == (400, 200, 1), (
            "the stable version takes the second, so the candidate is at fault"
        )

    asyncio.run(scene())


def refuse_all(*_: object) -> None:
    raise Overloaded("the queue is full")


def test_an_overload_of_both_versions_is_not_the_candidates_fault() -> None:
    async def scene() -> None:
        stable, candidate = HeldThreads(), HeldThreads()
        stable.submit = candidate.submit = refuse_all  # type: ignore[method-assign, assignment]
        on, trial = trying(model(version="2", threads=candidate), model(version="1", threads=stable))
        _, pipe = on.open()
        pipe.send(post() * 3)
        assert [reply.status for reply in answers(pipe.take())] == [429] * 3
        assert (trial.failures, trial.errors) == (0, ())

    asyncio.run(scene())


def test_a_candidate_that_breaks_under_an_overload_has_failed() -> None:
    async def scene() -> None:
        stable = HeldThreads()
        stable.submit = refuse_all  # type: ignore[method-assign, assignment]
        on, trial = trying(model(failing(), version="2"), model(version="1", threads=stable))  # type: ignore[arg-type]  # a function of tensors
        _, pipe = on.open()
        pipe.send(post() * 3)
        assert trial.failures == 3

    asyncio.run(scene())


def test_what_the_fallback_refuses_takes_back_nothing() -> None:
    async def scene() -> None:
        stable, candidate, last = HeldThreads(), HeldThreads(), HeldThreads()
        stable.submit = candidate.submit = last.submit = refuse_all  # type: ignore[method-assign, assignment]
        on, trial = trying(model(version="2", threads=candidate), model(version="1", threads=stable), canary=0.5)
        on.dataplane.add(model(name="simple", threads=last))
        on.dataplane.routing.fall_back("iris", Fallback(other="simple", patience_s=0.0, circuit=Circuit(100, 60.0)))
        _, pipe = on.open()
        pipe.send(post() * 4)
        assert trial.failures == 0

    asyncio.run(scene())


def test_who_may_not_ask_does_not_ask_twice() -> None:
    on, trial = trying(model(failing(Denied("not you")), version="2"))  # type: ignore[arg-type]  # a function of tensors
    _, pipe = on.open()
    pipe.send(post())
    [reply] = answers(pipe.take())
    assert (reply.status, trial.failures, trial.stable.statistics.succeeded) == (403, 0, 0)


def test_a_version_that_was_asked_for_by_its_number_answers_or_fails_itself() -> None:
    on, trial = trying(model(failing(), version="2"))  # type: ignore[arg-type]  # a function of tensors
    _, pipe = on.open()
    pipe.send(post("/v2/models/iris/versions/2/infer"))
    [reply] = answers(pipe.take())
    assert (reply.status, trial.failures) == (500, 0)


def test_after_the_end_nothing_is_dealt_out() -> None:
    on, trial = trying(model(version="2"))
    _, pipe = on.open()
    pipe.send(post())
    trial.end()
    pipe.send(post())
    assert versions(pipe.take()) == ["2", "1"]
    assert not on.dataplane.routing.active


def test_shares_are_exact_and_a_sticky_client_stays() -> None:
    on, _ = trying(model(version="2"), canary=0.3, sticky="X-User")
    _, pipe = on.open()
    for _ in range(100):
        pipe.send(post())
    assert abs(versions(pipe.take()).count("2") - 30) <= 1
    for user in range(20):
        for _ in range(3):
            pipe.send(post("/v2/models/iris/infer", BODY, f"x-user: {user}"))
        assert len(set(versions(pipe.take()))) == 1


@pytest.mark.parametrize("turn_rows", [0, 8])
def test_a_shadow_sees_every_call_and_no_client_sees_it(turn_rows: int) -> None:
    def other(inputs: Tensors) -> Sequence[Tensor]:
        label, scores = answer(inputs)
        return [label + (np.asarray(inputs["X"])[:, 0] > 2), scores + np.float32(0.25)]

    async def scene() -> None:
        candidate = model(other, version="2")
        on, trial = trying(candidate, model(version="1", turn_rows=turn_rows), canary=0.0, shadow=1.0)
        _, pipe = on.open()
        for first in range(5):
            body = {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [first, 0, 0, 0]}]}
            pipe.send(post(body=json.dumps(body).encode()))
            for _ in range(4):
                await asyncio.sleep(0)
        pipe.send(post(body=b'{"inputs":[]}'))
        assert versions(pipe.take()) == ["1"] * 5
        for _ in range(200):
            if trial.compared().calls == 5:
                break
            await asyncio.sleep(0.01)
        found = trial.compared()
        assert (found.rows, found.flips, found.max_abs, found.skipped) == (5, 2, 0.25, 0)
        assert candidate.statistics.succeeded == 0, "copies are no requests"
        trial.end()
        assert trial.stable.observe is None

    asyncio.run(scene())


def falling_back(first: LoadedModel, *, patience_s: float = 0.0, failures: int = 2) -> tuple[Rig, Fallback]:
    on = rig(first, model(name="simple", version="7"))
    fallback = Fallback(other="simple", patience_s=patience_s, circuit=Circuit(failures, 60.0))
    on.dataplane.routing.fall_back("iris", fallback)
    return on, fallback


def names(raw: bytes) -> list[str]:
    return [json.loads(reply.body)["model_name"] for reply in answers(raw) if reply.status == 200]


def test_a_fallback_answers_and_after_failures_in_a_row_it_is_asked_at_once() -> None:
    first = model(failing())  # type: ignore[arg-type]  # a function of tensors
    on, _ = falling_back(first)
    _, pipe = on.open()
    for _ in range(5):
        pipe.send(post())
    assert names(pipe.take()) == ["simple"] * 5
    assert first.statistics.failed == {Kind.INTERNAL: 2}


def test_a_fallback_is_asked_at_once_of_a_name_both_of_whose_versions_fail() -> None:
    async def scene() -> None:
        stable = model(failing(), version="1")  # type: ignore[arg-type]  # a function of tensors
        stable.statistics.success(0.001, 1)  # before it began to fail
        on, _ = trying(model(failing(), version="2"), stable, canary=0.5)  # type: ignore[arg-type]  # a function of tensors
        on.dataplane.add(model(name="simple"))
        fallback = Fallback(other="simple", patience_s=0.0, circuit=Circuit(5, 60.0))
        on.dataplane.routing.fall_back("iris", fallback)
        _, pipe = on.open()
        pipe.send(post() * 20)
        assert names(pipe.take()) == ["simple"] * 20
        assert (fallback.circuit.state, stable.statistics.failed) == (State.OPEN, {Kind.INTERNAL: 5})

    asyncio.run(scene())


def test_a_fallback_takes_over_what_takes_too_long_and_the_late_answer_is_nobodys() -> None:
    async def scene() -> None:
        held = HeldThreads()
        on, _ = falling_back(model(threads=held), patience_s=0.01)
        _, pipe = on.open()
        pipe.send(post())
        await asyncio.sleep(0.05)
        assert names(pipe.take()) == ["simple"]
        assert held.held[0][1].cancelled
        held.release()
        assert pipe.take() == b""
        assert on.dataplane.in_flight == 0

    asyncio.run(scene())


def test_a_fallback_that_was_asked_because_nobody_took_the_request_has_its_own_time() -> None:
    async def scene() -> None:
        never, held = HeldThreads(), HeldThreads()
        never.submit = refuse_all  # type: ignore[method-assign, assignment]
        on = rig(model(threads=never), model(name="simple", version="7", threads=held))
        on.dataplane.routing.fall_back("iris", Fallback(other="simple", patience_s=0.01, circuit=Circuit(2, 60.0)))
        _, pipe = on.open()
        pipe.send(post())
        await asyncio.sleep(0.05)
        assert pipe.take() == b"", "the patience was with the one that did not take it"
        held.release()
        assert names(pipe.take()) == ["simple"]

    asyncio.run(scene())


def test_a_fallback_does_not_answer_what_is_the_callers_fault() -> None:
    on, _ = falling_back(model())
    _, pipe = on.open()
    pipe.send(post(body=b'{"inputs":[]}'))
    [reply] = answers(pipe.take())
    assert reply.status == 400


def test_without_anybody_to_stand_in_the_failure_is_told() -> None:
    on, fallback = falling_back(model(failing()))  # type: ignore[arg-type]  # a function of tensors
    on.dataplane.remove("simple")
    _, pipe = on.open()
    pipe.send(post())
    [reply] = answers(pipe.take())
    assert (reply.status, fallback.statistics.succeeded) == (500, 0)


def test_what_falls_back_is_counted_where_the_other_is_asked() -> None:
    on, fallback = falling_back(model(failing()), failures=3)  # type: ignore[arg-type]  # a function of tensors
    _, pipe = on.open()
    pipe.send(post() * 5)  # three that failed first, two at once
    assert names(pipe.take()) == ["simple"] * 5
    assert fallback.statistics.succeeded == 5
    on.dataplane.find("simple").refuse()
    fallback.circuit = Circuit(3, 60.0)
    pipe.send(post())
    [reply] = answers(pipe.take())
    assert (reply.status, fallback.statistics.succeeded) == (500, 5), "one that is being closed is not asked"
