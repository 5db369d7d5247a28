import numpy as np

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.optimization.irs.padding import unpadded


def spec(name: str, *shape: int | str, datatype: Datatype = Datatype.INT64) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(BATCH, *shape))


TEXT = Signature(
    inputs=(spec("ids", "tokens"), spec("mask", "tokens"), spec("price", 1, datatype=Datatype.FP32)),
    outputs=(spec("scores", 2, datatype=Datatype.FP32),),
)


def row(ids: list[int], mask: list[int]) -> dict[str, np.ndarray]:
    return {"ids": np.array([ids]), "mask": np.array([mask]), "price": np.ones((1, 1), np.float32)}


def test_a_row_is_cut_where_its_mask_ends() -> None:
    cut = unpadded(TEXT, row([101, 7, 102, 0, 0], [1, 1, 1, 0, 0]))
    assert (cut["ids"].tolist(), cut["mask"].tolist(), cut["price"].shape) == ([[101, 7, 102]], [[1, 1, 1]], (1, 1))


def test_what_is_no_mask_cuts_nothing() -> None:
    whole = row([1, 0, 1, 0, 2], [1, 1, 1, 1, 1])
    assert unpadded(TEXT, whole) == whole
    gaps = row([5, 6, 7, 8, 9], [1, 0, 1, 0, 0])
    assert unpadded(TEXT, gaps) == gaps
    fixed = Signature(inputs=(spec("ids", 5), spec("mask", 5), spec("price", 1, datatype=Datatype.FP32)), outputs=TEXT.outputs)
    padded = row([101, 7, 102, 0, 0], [1, 1, 1, 0, 0])
    assert unpadded(fixed, padded) == padded
