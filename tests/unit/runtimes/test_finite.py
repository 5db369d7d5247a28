"""The guard around variants that depart from their source."""

from collections.abc import Sequence

import numpy as np
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.core.package import Departure, Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, Tensors
from aweigh.runtimes.finite import finite_rows, guarded

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 2)), TensorSpec(name="n", datatype=Datatype.INT64, shape=(BATCH,))),
    outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 2)),),
)
PLAIN = Variant(name="int8", runtime="null", precision="int8")
DEPARTED = Variant(
    name="int8", runtime="null", precision="int8", departure=Departure(base="onnx", passes=("int8",), keep="agreement >= 99%")
)


class Echo:
    concurrent = True
    isolated = False
    closed = False

    def run(self, inputs: Tensors) -> list[Tensor]:
        return [inputs["x"]]

    def close(self) -> None:
        self.closed = True


def rows(values: Sequence[Sequence[float]]) -> dict[str, Tensor]:
    return {"x": np.array(values, dtype=np.float32), "n": np.zeros(len(values), dtype=np.int64)}


def test_finite_rows_pass() -> None:
    session = guarded(Echo(), DEPARTED, SIGNATURE)
    assert session.run(rows([[1, 2]]))[0].tolist() == [[1, 2]]
    assert (session.concurrent, session.isolated) == (True, False)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_others_are_refused_with_the_variant_to_ask(odd: float) -> None:
    session = guarded(Echo(), DEPARTED, SIGNATURE)
    with pytest.raises(
        InvalidInput, match="input 'x' holds NaN or an infinity in row 1, which the variant 'int8' was not proven with"
    ) as caught:
        session.run(rows([[1, 2], [odd, 2]]))
    assert "'onnx'" in caught.value.hint


def test_what_does_not_depart_is_left_alone() -> None:
    echo = Echo()
    assert guarded(echo, PLAIN, SIGNATURE) is echo


def test_closing_reaches_the_session() -> None:
    echo = Echo()
    guarded(echo, DEPARTED, SIGNATURE).close()
    assert echo.closed


def test_which_rows_are_finite() -> None:
    assert finite_rows(rows([[1, 2], [np.nan, 2], [1, np.inf]]), ["x"]).tolist() == [True, False, False]
    assert finite_rows(rows([[1, 2], [np.nan, 2]]), []).tolist() == [True, True]
