"""The golden set as the runner reads and compares it: as `core` does, case by case."""

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from tests.runner.kit import FunctionSession, array_of, settings_of, tensor_of
from tests.serving.kit import answer, signature

from aweigh.core.compare import compare
from aweigh.core.golden import GoldenAnswers
from aweigh.core.signature import BATCH, TensorSpec, Tolerance
from aweigh.core.tensorfile import write_tensors
from aweigh.core.tensors import Datatype
from aweigh.core.tolerances import tolerance_of
from aweigh.runner.errors import Refusal
from aweigh.runner.golden import gap_of, read_case, read_tensors, replay
from aweigh.runner.model import Model

TEXTS = np.array([["é", None], ["", "b\0"]], dtype=object)


def test_tensor_files_of_core_are_read() -> None:
    written: dict[str, Any] = {
        "input/x": (Datatype.FP32, np.array([[1.5, np.nan]], dtype=np.float32)),
        "input/t": (Datatype.BYTES, TEXTS),
        "output/b": (Datatype.BOOL, np.array([True, False])),
        "output/h": (Datatype.FP16, np.array([0.1, -2], dtype=np.float16)),
    }
    found = read_tensors(write_tensors(written), "here")
    assert found["input/t"].data == TEXTS.ravel().tolist()
    for name in ("input/x", "output/b", "output/h"):
        np.testing.assert_array_equal(array_of(found[name]), written[name][1])


@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_a_damaged_file_is_refused(at: int, damage: bytes) -> None:
    data = write_tensors({"input/x": (Datatype.INT64, np.arange(4)), "output/t": (Datatype.BYTES, TEXTS)})
    broken = data[:at] + damage + data[at + len(damage) :]
    for cut in (broken, data[:at]):
        try:
            read_tensors(cut, "here")
        except Refusal as error:
            assert "here" in error.message  # noqa: PT017  # it may as well be read: not every byte matters


def spec_of(role: str, bound: Tolerance | None) -> TensorSpec:
    return TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 3), role=role, tolerance=bound)


@given(
    npst.arrays(np.float32, (2, 3), elements=st.floats(width=32)),
    npst.arrays(np.float32, (2, 3), elements=st.sampled_from([0.0, 1e-6, 1e-5, 1e-3, np.inf, np.nan])),
    st.sampled_from(["", "probability"]),
    st.sampled_from([None, Tolerance(atol=0.0, rtol=0.0), Tolerance(atol=0.1, rtol=1e-3, scale=1e-3)]),
)
def test_floats_agree_where_core_says_so(expected: Any, change: Any, role: str, bound: Tolerance | None) -> None:
    with np.errstate(all="ignore"):
        actual = expected + change
    spec = spec_of(role, bound)
    held = tolerance_of(spec)
    told = {"name": "y", "shape": ["batch", 3], "tolerance": {"atol": held.atol, "rtol": held.rtol, "scale": held.scale}}
    gap = gap_of(told, tensor_of(expected, Datatype.FP32), tensor_of(actual, Datatype.FP32))
    assert compare([spec], [expected], [actual]).agrees == (not gap)


def test_what_is_no_float_is_equal_or_not() -> None:
    told = {"name": "y", "shape": ["batch"]}
    one, other = (tensor_of(np.array(values), Datatype.INT64) for values in ([1, 2, 3], [1, 9, 3]))
    assert gap_of(told, one, other) == "row 1: expected [2], got [9]"
    assert not gap_of(told, one, one)
    texts = [tensor_of(np.array(values, dtype=object), Datatype.BYTES) for values in (["a", None], [b"a", b""])]
    assert "row 1" in gap_of(told, *texts)
    assert "shape [1] where [3]" in gap_of(told, one, tensor_of(np.array([1]), Datatype.INT64))


def replayed(tmp_path: Path, change: float) -> None:
    inputs = {"X": np.array([[1, 2, 3, 4], [5, 6, 7, np.nan]], dtype=np.float32)}
    golden = GoldenAnswers(name="sample", why="rows of the sample", inputs=inputs, outputs=list(answer(inputs)))
    settings = settings_of(signature(), [golden], folder=tmp_path)
    model = Model(settings, FunctionSession(lambda given: [answer(given)[0], answer(given)[1] + np.float32(change)], signature()))
    replay(model, [read_case(settings, case, (tmp_path / case["file"]).read_bytes()) for case in settings["golden"]])


def test_a_model_that_answers_otherwise_is_refused_with_case_and_row(tmp_path: Path) -> None:
    replayed(tmp_path, 0.0)
    with pytest.raises(Refusal, match=r"golden case 'sample' \(rows of the sample\): output 'scores': row 0: expected \[1.0") as refused:
        replayed(tmp_path, 0.1)
    assert refused.value.code == "golden-mismatch"
