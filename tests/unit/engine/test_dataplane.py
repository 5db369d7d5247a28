"""The data plane: finding models, counting what they do; and acceptance, which must agree with the signature on everything."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from tests.serving.kit import HeldThreads, model, signature

from aweigh.core.errors import AweighError, InternalError, InvalidInput, Kind, ModelNotFound, NotLoaded, NotReady, TooLarge
from aweigh.core.settings import Settings
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.engine.acceptance import Acceptance
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.statistics import BOUNDS_S, Histogram

ROW = {"X": np.zeros((1, 4), dtype=np.float32)}


def plane(*models: object, **settings: object) -> DataPlane:
    made = DataPlane(Settings(**settings))  # type: ignore[arg-type]
    for each in models:
        made.add(each)  # type: ignore[arg-type]
    made.started = True
    return made


def test_models_are_found_by_name_and_version() -> None:
    first, second, other = model(version="1"), model(version="2"), model(name="other")
    made = plane(first, second, other)
    assert made.find("iris") is second
    assert made.find("iris", "1") is first
    assert made.versions("iris") == ["1", "2"]
    assert [each.name for each in made.models()] == ["iris", "iris", "other"]
    with pytest.raises(ModelNotFound) as caught:
        made.find("iriss")
    assert (caught.value.message, caught.value.hint) == ("Request for unknown model: 'iriss' is not found", "did you mean 'iris'?")
    with pytest.raises(ModelNotFound, match="version 3 is not found"):
        made.find("iris", "3")
    with pytest.raises(ModelNotFound):
        made.find("")


def test_versions_beside_each_other_and_what_the_bare_name_means() -> None:
    first, second, third = (model(version=number) for number in "123")
    made = plane()
    assert made.join(first, default=False) == []
    assert made.find("iris") is first, "the first one is meant, whatever was said"
    made.join(second, default=False)
    assert made.find("iris") is first
    made.join(third, default=True)
    assert made.find("iris") is third
    again = model(version="3")
    assert made.join(again, default=False) == [third], "the same version anew means what it meant"
    assert made.find("iris") is again
    made.prefer("iris", "1")
    assert made.find("iris") is first
    made.prefer("iris", "9")
    assert made.find("iris") is first
    made.drop(second)
    assert made.find("iris") is first
    made.drop(first)
    assert made.find("iris") is again
    made.drop(again)
    with pytest.raises(ModelNotFound):
        made.find("iris")
    assert made.names() == []


def test_what_is_asleep_is_served_and_not_ready() -> None:
    first, second = model(version="1"), model(version="2")
    made = plane(first, second)
    made.lull(second, "to make room")
    assert (made.names(), made.versions("iris"), made.ready) == (["iris"], ["1"], True)
    for version in ("", "2"):
        with pytest.raises(NotLoaded, match="model 'iris' version 2 is not loaded"):
            made.find("iris", version)
    assert made.find("iris", "1") is first
    assert made.named("iris", "") == [first]
    assert made.named("iris", "2") == []
    made.join(second, default=False)
    assert made.find("iris") is second, "it means again what it meant"
    made.lull(first, "to make room")
    made.drop(second)
    assert made.asleep.default("iris") == "1", "the bare name means what is left"
    made.forget("iris", "1")
    with pytest.raises(ModelNotFound):
        made.find("iris")
    made.asleep.put("iris", "1", "loaded on first use", default=True)
    assert made.replace(first) == []
    assert list(made.asleep) == []
    made.lull(first, "to make room")
    assert made.remove("iris") == []
    assert made.names() == []


def test_labels_stand_for_versions() -> None:
    first, second = model(version="1"), model(version="2")
    made = plane(first, second)
    made.labels.assign("iris", {"stable": 1, "gone": 3}, ["1", "2", "3"])
    assert made.find("iris", "stable") is first
    assert made.named("iris", "stable") == [first]
    with pytest.raises(ModelNotFound, match="version 3 is not found"):
        made.find("iris", "gone")


def test_what_is_not_loaded_yet_is_not_ready_rather_than_missing() -> None:
    made = plane(model())
    made.started = False
    assert not made.ready
    assert made.find("iris")
    with pytest.raises(NotReady):
        made.find("other")
    made.started = True
    assert made.ready
    made.draining = True
    assert not made.ready


def test_outcomes_are_counted_once() -> None:
    def broken(_: object) -> list[np.ndarray]:
        raise ValueError

    def refusing(_: object) -> list[np.ndarray]:
        raise InvalidInput("no")

    good, bad, choosy = model(), model(broken, name="bad"), model(refusing, name="choosy")
    made = plane(good, bad, choosy, max_rows=10)
    made.run(good, {"X": np.zeros((3, 4), dtype=np.float32)}, 3)
    with pytest.raises(ValueError):  # noqa: PT011  # it has no text
        made.run(bad, ROW, 1)
    with pytest.raises(InvalidInput):
        made.run(choosy, ROW, 1)
    with pytest.raises(InvalidInput):
        made.accept(good, {"X": np.zeros((1, 5), dtype=np.float32)})
    with pytest.raises(TooLarge, match="11 rows"):
        made.accept(good, {"X": np.zeros((11, 4), dtype=np.float32)})
    assert (good.statistics.succeeded, good.statistics.rows) == (1, 3)
    assert good.statistics.failed == {Kind.INVALID: 1, Kind.TOO_LARGE: 1}
    assert bad.statistics.failed == {Kind.INTERNAL: 1}
    assert choosy.statistics.failed == {Kind.INVALID: 1}


def test_submitted_work_is_in_flight_until_it_is_done() -> None:
    threads = HeldThreads()
    slow = model(threads=threads)
    made = plane(slow)
    done: list[object] = []
    made.submit(slow, ROW, 1, None, lambda *result: done.append(result))  # type: ignore[arg-type]
    assert (made.in_flight, slow.statistics.in_flight) == (1, 1)
    threads.release()
    assert (made.in_flight, slow.statistics.in_flight, slow.statistics.succeeded) == (0, 0, 1)
    assert done[0][1] is None  # type: ignore[index]
    with pytest.raises(InternalError):
        plane().submit(model(), ROW, 1, None, lambda *_: None)  # type: ignore[arg-type]


def test_closing_releases_every_session_and_thread() -> None:
    models = [model(), model(version="2"), model(name="other")]
    made = plane(*models)
    made.close()
    made.close()
    assert [each.session.closed for each in models] == [1, 1, 1]  # type: ignore[attr-defined]
    with pytest.raises(ModelNotFound):
        made.find("iris")


def test_histograms_put_each_time_into_its_bucket() -> None:
    made = Histogram()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, 9.9, 10.0, 11.0):
        made.observe(seconds)
    assert made.counts == [2, 1, *[0] * (len(BOUNDS_S) - 3), 2, 1]
    assert made.sum_s == pytest.approx(30.9001005, rel=1e-4)


DATATYPES = [Datatype.FP32, Datatype.FP64, Datatype.INT64, Datatype.BOOL, Datatype.UINT8]


@st.composite
def specs(draw: st.DrawFn, name: str) -> TensorSpec:
    shape = draw(st.sampled_from([(BATCH, 2), (BATCH,), (BATCH, 2, 1), (BATCH, "k"), (2, 2), (), (3, BATCH)]))
    flags = {"takes_missing": draw(st.booleans()), "takes_infinite": draw(st.booleans())}
    at = {name: draw(st.sampled_from([(), (1,)])) for name in ("refuses_missing_at", "refuses_infinite_at") if shape[1:2] == (2,)}
    return TensorSpec(name=name, datatype=draw(st.sampled_from(DATATYPES)), shape=shape, **flags, **at)


@st.composite
def tensors(draw: st.DrawFn, spec: TensorSpec) -> np.ndarray:
    fitting = tuple(axis if isinstance(axis, int) else draw(st.integers(0, 4)) for axis in spec.shape)
    shape = draw(st.just(fitting) | hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    datatype = draw(st.just(spec.datatype) | st.sampled_from(DATATYPES))
    return draw(hnp.arrays(datatype.dtype, shape))


@given(st.data())
def test_acceptance_agrees_with_the_signature(data: st.DataObject) -> None:
    names = data.draw(st.sampled_from([("X",), ("X", "Z")]))
    made = Signature(
        inputs=tuple(data.draw(specs(name)) for name in names), outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH,)),)
    )
    given_names = data.draw(st.just(names) | st.sampled_from([("X",), ("Z",), (), ("X", "Q")]))
    inputs = {name: data.draw(tensors(made.inputs[min(at, len(names) - 1)])) for at, name in enumerate(given_names)}
    try:
        made.check(inputs)
        made.check_finite(inputs)
        expected: object = made.batch_size(inputs)
        if expected > 3:  # type: ignore[operator]
            expected = TooLarge
    except AweighError as error:
        expected = type(error)
    try:
        found: object = Acceptance(made).rows(inputs, 3)
    except AweighError as error:
        found = type(error)
    assert found == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_a_list_is_taken_only_if_its_array_is_finite(values: list[float]) -> None:
    takes = Acceptance(signature()).takes(values)
    with np.errstate(over="ignore"):
        assert not takes or bool(np.isfinite(np.array(values, dtype=np.float32)).all())
    assert takes or max(map(abs, values)) > float(np.finfo(np.float32).max)
