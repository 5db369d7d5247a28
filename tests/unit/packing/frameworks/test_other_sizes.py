"""The golden set holds other sizes of every open axis, as far as the source answers them."""

from collections.abc import Mapping

import numpy as np

from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.frameworks.network import other_sizes


def _spec(name: str, *axes: int | str) -> TensorSpec:
    return TensorSpec(name=name, datatype=Datatype.FP32, shape=axes)


SIGNATURE = Signature(inputs=(_spec("a", BATCH, "steps", 2), _spec("b", BATCH, "steps")), outputs=(_spec("sum", BATCH),))
ROWS: dict[str, Tensor] = {"a": np.ones((9, 5, 2), dtype=np.float32), "b": np.ones((9, 5), dtype=np.float32)}


def _sums(rows: Mapping[str, Tensor]) -> list[Tensor]:
    return [np.asarray((rows["a"].sum(2) * rows["b"]).sum(1))]


def test_inputs_that_share_an_axis_change_together() -> None:
    cases = other_sizes(SIGNATURE, ROWS, _sums)
    assert [(case.inputs["a"].shape, case.inputs["b"].shape) for case in cases] == [((4, n, 2), (4, n)) for n in (1, 3, 6)]
    assert [case.outputs[0].tolist() for case in cases] == [[2.0 * n] * 4 for n in (1, 3, 6)]
    assert len({case.name for case in cases}) == 3


def test_a_size_that_the_source_refuses_is_no_case() -> None:
    def short(rows: Mapping[str, Tensor]) -> list[Tensor]:
        if rows["a"].shape[1] > 5:
            raise RuntimeError("position 5 is out of range")
        return _sums(rows)

    assert [case.inputs["b"].shape[1] for case in other_sizes(SIGNATURE, ROWS, short)] == [1, 3]


def test_fixed_sizes_stay() -> None:
    fixed = Signature(inputs=(_spec("a", BATCH, 5, 2), _spec("b", BATCH, 5)), outputs=SIGNATURE.outputs)
    assert other_sizes(fixed, ROWS, _sums) == ()
