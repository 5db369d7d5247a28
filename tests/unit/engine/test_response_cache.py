"""The response cache: equal requests get equal answers, different ones never each other's, and the memory stays within its bound."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tests.serving.kit import HeldThreads, Http2Peer, answer, answers, echo, echo_signature, infer_message, model, post, rig

from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Check, Evidence, Machine, Strength
from aweigh.core.names import Digest
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.model import LoadedModel
from aweigh.engine.response_cache import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, ResponseCache, Responses, why_not_cached
from aweigh.engine.slab import Board
from aweigh.engine.statistics import ModelStatistics, SharedStatistics

MIB = 1024 * 1024
TEXTS = Signature(
    inputs=(
        TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, "n")),
        TensorSpec(name="t", datatype=Datatype.BYTES, shape=(BATCH,)),
    ),
    outputs=(
        TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, "n")),
        TensorSpec(name="u", datatype=Datatype.BYTES, shape=(BATCH,)),
    ),
)


def plane(*models: LoadedModel, limit: int = MIB, **settings: Any) -> DataPlane:
    made = DataPlane(Settings(response_cache_bytes=limit, **settings))
    for each in models:
        made.add(each)
    made.started = True
    return made


def rows(*values: float) -> dict[str, Tensor]:
    return {"X": np.array([values], dtype=np.float32)}


def calls(of: LoadedModel) -> int:
    return len(of.session.calls)  # type: ignore[attr-defined]  # a FakeSession


def responses(limit: int = MIB, *, of: Signature = TEXTS, statistics: ModelStatistics | None = None) -> Responses:
    return ResponseCache(limit).of(Digest("sha256:a"), "onnx", "1", of, statistics or ModelStatistics())


def same(one: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    return all(a.dtype == b.dtype and a.shape == b.shape and _bytes(a) == _bytes(b) for a, b in zip(one, two, strict=True))


def _bytes(tensor: Tensor) -> object:
    return tensor.tolist() if tensor.dtype == object else tensor.tobytes()


def test_an_equal_request_is_answered_without_a_call() -> None:
    iris = model(cacheable=True)
    made = plane(iris)
    first = made.run(iris, rows(1, 2, 3, 4), 1)
    again = made.run(iris, rows(1, 2, 3, 4), 1)
    assert same(first, again)
    made.run(iris, rows(1, 2, 3, 5), 1)
    done = iris.statistics
    assert (calls(iris), done.succeeded, done.executions, done.rows) == (2, 3, 2, 2)
    assert (done.cache_hits, done.cache_misses) == (1, 2)
    assert sum(done.duration.counts) == 3
    assert made.cache is not None
    assert done.cache_bytes == made.cache.bytes > 0


def test_nothing_is_kept_without_memory_for_it_or_of_a_model_that_may_not_be() -> None:
    iris, other = model(cacheable=True), model(name="other")
    off, on = plane(iris, limit=0), plane(other)
    for made, each in ((off, iris), (on, other)):
        made.run(each, rows(1, 2, 3, 4), 1)
        made.run(each, rows(1, 2, 3, 4), 1)
        assert (calls(each), each.responses, each.statistics.cache_misses) == (2, None, 0)


def test_failures_are_not_kept() -> None:
    def refusing(inputs: Tensors) -> Sequence[Tensor]:
        raise InvalidInput("no")

    iris = model(refusing, cacheable=True)
    made = plane(iris)
    for _ in range(2):
        with pytest.raises(InvalidInput):
            made.run(iris, rows(1, 2, 3, 4), 1)
    assert (calls(iris), iris.statistics.cache_hits, iris.statistics.cache_bytes) == (2, 0, 0)


def test_nobody_can_change_what_is_kept() -> None:
    given_out = np.array([["a", "b"]], dtype=object)
    kept = responses(of=TEXTS)
    inputs = {"x": np.ones((1, 2), np.float32), "t": np.array(["q"], object)}
    number = np.array([[1.0, 2.0]], np.float32)
    key, _ = kept.recall(inputs)
    kept.remember(key, [number, given_out])
    number[0, 0], given_out[0, 0] = 7, "changed"
    _, found = kept.recall(inputs)
    assert found is not None
    assert [each.tolist() for each in found] == [[[1.0, 2.0]], [["a", "b"]]]
    for each in found:
        with pytest.raises(ValueError, match="read-only"):
            each[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        found[0].setflags(write=True)
    found.clear()
    assert kept.recall(inputs)[1]


def test_a_batch_is_not_kept_alive_by_one_of_its_answers() -> None:
    kept = responses(of=echo_signature(Datatype.FP32, (BATCH, 4)))
    whole = np.zeros((1000, 4), np.float32)
    key, _ = kept.recall(rows(1, 2, 3, 4))
    kept.remember(key, [whole[3:4]])
    _, found = kept.recall(rows(1, 2, 3, 4))
    assert found is not None
    assert isinstance(found[0].base, bytes)
    assert len(found[0].base) == 16


ODD = [
    {"x": np.zeros((1, 2), np.float32)},
    {"x": np.zeros((2, 1), np.float32), "t": np.array(["", ""], object)},
    {"x": np.full((1, 2), -0.0, np.float32)},
    {"x": np.full((1, 2), np.nan, np.float32)},
    {"x": np.array([[0x7FC00001, 0x7FC00000]], np.uint32).view(np.float32)},
    {"x": np.zeros((1, 0), np.float32)},
    {"x": np.zeros((0, 1), np.float32), "t": np.empty(0, object)},
    {"x": np.zeros((0, 2), np.float32), "t": np.empty(0, object)},
    *({"t": np.array([text], object)} for text in ("a", b"a", None, "None", "\ud800", "n", "", b"", "é", "e\u0301", "a\0")),
    {"x": np.zeros((2, 2), np.float32), "t": np.array(["ab", "c"], object)},
    {"x": np.zeros((2, 2), np.float32), "t": np.array(["a", "bc"], object)},
]


def test_bytes_and_shapes_decide_what_is_equal() -> None:
    kept = responses()
    plain = {"x": np.zeros((1, 3), np.float32), "t": np.array(["t"], object)}
    keys = [kept.recall({**plain, **odd})[0] for odd in ODD]
    assert len({*keys}) == len(ODD)
    assert all(keys)
    assert [kept.recall({**plain, **odd})[0] for odd in ODD] == keys
    swapped = {"t": plain["t"], "x": np.asfortranarray(plain["x"])}
    assert kept.recall(swapped)[0] == kept.recall(plain)[0]


def test_package_variant_and_version_are_part_of_the_key() -> None:
    cache = ResponseCache(MIB)
    of = echo_signature(Datatype.FP32, (BATCH, 4))
    names = [("sha256:a", "onnx", "1"), ("sha256:a", "onnx", "2"), ("sha256:b", "onnx", "1"), ("sha256:a", "onn", "x1")]
    made = [cache.of(Digest(digest), variant, version, of, ModelStatistics()) for digest, variant, version in names]
    assert len({each.recall(rows(1, 2, 3, 4))[0] for each in made}) == len(names)


def test_a_new_version_never_answers_from_the_old_one() -> None:
    def doubled(inputs: Tensors) -> Sequence[Tensor]:
        return [2 * np.asarray(output) for output in answer(inputs)]

    old, new = model(cacheable=True), model(doubled, version="2", cacheable=True)
    made = plane(old)
    before = made.run(old, rows(1, 2, 3, 4), 1)
    assert made.replace(new) == [old]
    assert made.cache is not None
    assert (made.cache.bytes, old.statistics.cache_bytes) == (0, 0)
    after = made.run(made.find("iris"), rows(1, 2, 3, 4), 1)
    assert [each.tolist() for each in after] == [(2 * np.asarray(each)).tolist() for each in before]


def test_who_leaves_takes_its_entries_along_and_keeps_no_more() -> None:
    iris, other = model(cacheable=True), model(name="other", cacheable=True)
    made = plane(iris, other)
    made.run(iris, rows(1, 2, 3, 4), 1)
    made.run(other, rows(1, 2, 3, 4), 1)
    made.remove("iris")
    made.run(iris, rows(1, 2, 3, 4), 1)  # one that was under way
    assert made.cache is not None
    assert iris.responses is not None
    assert (len(iris.responses), iris.statistics.cache_bytes) == (0, 0)
    assert made.cache.bytes == other.statistics.cache_bytes > 0
    made.drop(other)
    assert made.cache.bytes == 0


def test_the_least_recently_used_goes_first_whosever_it_is() -> None:
    iris, other = model(cacheable=True), model(name="other", cacheable=True)
    made = plane(iris)
    made.run(iris, rows(0, 0, 0, 0), 1)
    assert made.cache is not None
    size = made.cache.bytes
    made = plane(iris, other, limit=3 * size)
    iris.statistics.cache_hits = 0
    made.run(iris, rows(1, 0, 0, 0), 1)
    made.run(other, rows(2, 0, 0, 0), 1)
    made.run(iris, rows(3, 0, 0, 0), 1)
    made.run(iris, rows(1, 0, 0, 0), 1)  # used again: now the other's is the oldest
    made.run(iris, rows(4, 0, 0, 0), 1)
    made.run(iris, rows(1, 0, 0, 0), 1)
    assert iris.statistics.cache_hits == 2
    made.run(other, rows(2, 0, 0, 0), 1)
    assert other.statistics.cache_hits == 0
    assert made.cache is not None
    assert made.cache.bytes <= 3 * size


def test_workers_share_the_memory() -> None:
    made = plane(limit=8 * MIB, workers=4)
    assert made.cache is not None
    assert made.cache.limit_bytes == 2 * MIB


@pytest.mark.parametrize("kind", ["numbers", "texts", "many-rows"])
def test_a_flood_of_distinct_requests_stays_within_the_bound(kind: str) -> None:
    """As the allocator sees it, not as the cache counts it."""
    limit = 2 * MIB
    of = TEXTS if kind == "texts" else echo_signature(Datatype.FP32, (BATCH, 4))
    statistics = ModelStatistics()
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        kept = responses(limit, of=of, statistics=statistics)
        worst = 0
        for at in range(6_000):
            count = 40 if kind == "many-rows" else 1
            number = np.full((count, 4), at, np.float32)
            text = np.array([f"text {at} ü"], object)
            inputs: Tensors = {"x": number, "t": text} if kind == "texts" else {"X": number}
            key, found = kept.recall(inputs)
            assert found is None
            kept.remember(key, [number, text] if kind == "texts" else [number])
            assert statistics.cache_bytes <= limit
            if at % 500 == 0:
                worst = max(worst, tracemalloc.get_traced_memory()[0] - before)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
        assert max(used, worst) <= limit
        assert used >= 0.4 * statistics.cache_bytes  # honest, not merely large
        assert len(kept) > 500
        kept.drop()
        del key, found, number, text, inputs
        gc.collect()  # free lists too
        assert tracemalloc.get_traced_memory()[0] - before < limit / 20
    finally:
        tracemalloc.stop()


def test_entries_are_nothing_for_the_garbage_collector() -> None:
    kept = responses(of=echo_signature(Datatype.FP32, (BATCH, 4)))
    key, _ = kept.recall(rows(1, 2, 3, 4))
    kept.remember(key, [np.zeros((1, 4), np.float32)])
    gc.collect()
    gc.collect()
    assert not any(gc.is_tracked(entry) for entry in kept._entries.values())


def test_what_is_too_large_is_neither_looked_up_nor_kept() -> None:
    statistics = ModelStatistics()
    kept = responses(64 * MIB, statistics=statistics)
    large = {"x": np.zeros((1, MAX_REQUEST_BYTES // 4), np.float32), "t": np.array(["t"], object)}
    assert kept.recall(large) == (b"", None)
    assert kept.recall({"x": np.zeros((1, 1), np.float32), "t": np.array(["t" * (MAX_REQUEST_BYTES + 1)], object)}) == (b"", None)
    assert statistics.cache_misses == 0
    key, _ = kept.recall({"x": np.zeros((1, 1), np.float32), "t": np.array(["t"], object)})
    kept.remember(key, [np.zeros(MAX_ANSWER_BYTES + 1, np.uint8)])
    assert len(kept) == 0
    small = responses(600)
    key, _ = small.recall({"x": np.zeros((1, 1), np.float32), "t": np.array(["t"], object)})
    small.remember(key, [np.zeros(1, np.uint8)])
    assert len(small) == 0


def test_text_that_is_no_text_is_not_looked_up() -> None:
    assert responses().recall({"x": np.zeros((1, 1), np.float32), "t": np.array([7], object)}) == (b"", None)


PASSED = Check(name="determinism", passed=True, figures={"bit_equal": 1.0})
MACHINE = Machine(system="Linux", architecture="x86_64", processor="p", cores=2)


@pytest.mark.parametrize(
    ("check", "passed", "runs_code", "kept"),
    [
        (PASSED, True, False, True),
        (PASSED, True, True, False),
        (PASSED, False, False, False),
        (Check(name="determinism", passed=True, figures={"bit_equal": 0.0}), True, False, False),
        (Check(name="determinism", passed=True), True, False, False),
        (Check(name="parity", passed=True), True, False, False),
    ],
)
def test_only_what_is_known_to_be_deterministic_is_kept(check: Check, passed: bool, runs_code: bool, kept: bool) -> None:
    evidence = Evidence(passed=passed, strength=Strength.FULL, data="d", made_at="t", machine=MACHINE, checks=(check,))
    assert (why_not_cached(runs_code=runs_code, evidence=evidence) == "") is kept
    assert why_not_cached(runs_code=False, evidence=None)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(main())


@pytest.mark.parametrize("executor", ["turn", "threads"])
def test_a_hit_is_delivered_later_on_the_loop(executor: str) -> None:
    async def scene() -> None:
        threads = HeldThreads()
        iris = model(cacheable=True, turn_rows=64) if executor == "turn" else model(cacheable=True, threads=threads)
        made = plane(iris)
        got: list[Any] = []
        caller: Any = type("Caller", (), {"deadline": None, "cancelled": False, "priority": 0, "id": b"i"})()
        made.submit(iris, rows(1, 2, 3, 4), 1, caller, lambda *told: got.append(told))
        if executor == "threads":
            threads.release()
        await asyncio.sleep(0)
        made.submit(iris, rows(1, 2, 3, 4), 1, caller, lambda *told: got.append(told))
        assert (len(got), made.in_flight, iris.statistics.in_flight) == (1, 1, 1)
        await asyncio.sleep(0)
        assert (len(got), made.in_flight, iris.statistics.in_flight) == (2, 0, 0)
        assert same(got[0][0], got[1][0])
        assert got[1][1] is None
        done = iris.statistics
        assert (calls(iris), done.succeeded, done.executions, done.cache_hits, done.cache_misses) == (1, 2, 1, 1, 1)

    run(scene)


def test_all_dialects_share_it_and_the_quick_carriers_leave_it_alone() -> None:
    async def scene() -> None:
        iris = model(cacheable=True, turn_rows=64)
        on = rig(iris, response_cache_bytes=MIB)
        body = json.dumps({"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
        bodies = []
        for _ in range(3):
            _, pipe = on.open()
            pipe.send(post(body=body))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            [reply] = answers(pipe.take())
            bodies.append((reply.status, reply.body))
        assert len(set(bodies)) == 1
        peer = Http2Peer(on)
        for _ in range(2):
            stream = peer.call(infer_message().SerializeToString())
            peer.pump()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            peer.pump()
            assert peer.response(stream).grpc_status == 0
        assert (calls(iris), iris.statistics.cache_hits) == (1, 4)
        assert not iris.carried

    run(scene)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from(["run", "submit"])), max_size=20),
    st.sampled_from([600, 2000, MIB]),
)
def test_any_mix_is_answered_as_without_a_cache(asked: list[tuple[int, int, str]], limit: int) -> None:
    async def scene() -> None:
        iris = model(echo, of=echo_signature(Datatype.FP32, (BATCH, 4)), cacheable=True, turn_rows=8)
        made = plane(iris, limit=limit)
        caller: Any = type("Caller", (), {"deadline": None, "cancelled": False, "priority": 0, "id": b"i"})()
        expected, got = [], []
        for at, (value, count, way) in enumerate(asked):
            inputs = {"X": np.full((count, 4), value, np.float32)}
            expected.append((at, inputs["X"].tobytes(), inputs["X"].shape))
            if way == "run":
                [output] = made.run(iris, inputs, count)
                got.append((at, output.tobytes(), output.shape))
            else:
                made.submit(
                    iris, inputs, count, caller, lambda outputs, error, at=at: got.append((at, outputs[0].tobytes(), outputs[0].shape))
                )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sorted(got) == expected
        done = iris.statistics
        assert done.succeeded == len(asked) == done.cache_hits + done.cache_misses
        assert made.cache is not None
        assert made.cache.bytes == done.cache_bytes <= limit
        assert iris.statistics.in_flight == made.in_flight == 0

    run(scene)


def test_the_counts_of_all_workers_add_up_and_a_dead_ones_memory_does_not() -> None:
    board = Board.create(2)
    try:
        one, two = (SharedStatistics(board, slab).of("iris", "1") for slab in board.slabs)
        for done, hits in ((one, 3), (two, 4)):
            for _ in range(hits):
                done.cache_hit(0.001)
            done.cache_miss(0.5)
            done.cache_bytes = 1000
            done.publish()
        total = one.total()
        assert (total.cache_hits, total.cache_misses, total.cache_bytes, total.succeeded) == (7, 2, 2000, 7)
        assert total.cache_hit_s == pytest.approx(0.007)
        assert total.cache_miss_s == pytest.approx(1.0)
        board.slabs[1].clear_gauges()
        assert one.total().cache_bytes == 1000
        heir = SharedStatistics(board, board.slabs[1]).of("iris", "1")
        assert (heir.cache_hits, heir.cache_misses, heir.cache_bytes) == (4, 1, 0)
        heir.cache_hit(0.1)
        assert one.total().cache_hits == 8
    finally:
        board.close()
