"""A sample in the wrong layout is refused and told how to be turned; it is never broadcast."""

import numpy as np
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import BATCH, Axis, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.packing.frameworks.onnx_sample import shaped_tensors
from aweigh.packing.sample import read_sample


def pictures(*axes: Axis) -> Signature:
    spec = TensorSpec(name="image", datatype=Datatype.FP32, shape=(BATCH, *axes))
    return Signature(inputs=(spec,), outputs=(TensorSpec(name="scores", datatype=Datatype.FP32, shape=(BATCH, 2)),))


@pytest.mark.parametrize(
    ("axes", "given", "order"),
    [
        ((3, 8, 8), (5, 8, 8, 3), "(0, 3, 1, 2)"),
        ((3, "height", "width"), (5, 8, 9, 3), "(0, 3, 1, 2)"),
        ((1, 8, 8), (5, 8, 8, 1), "(0, 3, 1, 2)"),
        ((8, 8, 3), (5, 3, 8, 8), "(0, 2, 3, 1)"),
    ],
)
def test_channels_at_the_other_end_are_told(axes: tuple[Axis, ...], given: tuple[int, ...], order: str) -> None:
    with pytest.raises(InvalidInput, match="the channels stand at the other end") as caught:
        shaped_tensors(pictures(*axes), read_sample(np.zeros(given, np.float32)))
    assert caught.value.hint == f"numpy.transpose(sample, {order})"


def test_pictures_of_another_size_are_not_turned() -> None:
    with pytest.raises(InvalidInput, match=r"has shape \[5, 3, 9, 9\], the model takes \[-1, 3, 8, 8\]") as caught:
        shaped_tensors(pictures(3, 8, 8), read_sample(np.zeros((5, 3, 9, 9), np.float32)))
    assert not caught.value.hint
