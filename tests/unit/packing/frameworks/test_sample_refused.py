"""A model that raises on the rows that it is given: whatever it raises is told as the sample's fault, never as aweigh's."""

from collections.abc import Mapping

import numpy as np
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.frameworks.network import learned

ROWS = {"x": np.zeros((4, 3), np.float32)}


class OutOfRangeError(Exception):
    """As a framework's own, which has no class in common with others."""


@pytest.mark.parametrize("axis", [BATCH, 4])
@pytest.mark.parametrize("error", [OutOfRangeError("indices[0] = 50 is not in [0, 3)"), KeyError("x"), InvalidInput("too many rows")])
def test_a_sample_that_the_model_refuses_is_the_samples_fault(error: Exception, axis: str | int) -> None:
    def ask(rows: Mapping[str, Tensor]) -> list[Tensor]:
        raise error

    x = TensorSpec(name="x", datatype=Datatype.FP32, shape=(axis, 3))
    y = TensorSpec(name="y", datatype=Datatype.FP32, shape=(axis, 1))
    with pytest.raises(InvalidInput, match=r"^the model itself fails on the sample: (?!the model)") as caught:
        learned(Signature(inputs=(x,), outputs=(y,)), ask, ROWS)
    assert ".npz" in caught.value.hint
