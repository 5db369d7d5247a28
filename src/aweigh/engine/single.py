"""One row at a time on memory of its own: for a small model on the event loop, whose call costs less than making arrays for it.

The input is written in place and the outputs are overwritten by the next call: whoever asks must be done with them before. Event loop only.
"""

from typing import TYPE_CHECKING

import numpy as np

from aweigh.core.errors import AweighError
from aweigh.core.tensors import PACKED, Tensor

if TYPE_CHECKING:
    from aweigh.engine.model import LoadedModel


class Single:
    """`row` is the input's numbers, flat; `run` fills `outputs`."""

    __slots__ = ("inputs", "outputs", "row", "run")

    def __init__(self, model: "LoadedModel") -> None:
        """Raises AweighError, or ValueError where the session or the signature does not allow it."""
        acceptance, signature = model.acceptance, model.signature
        bind = getattr(model.session, "bind", None)
        if bind is None or not acceptance.floats or any(spec.datatype in PACKED for spec in signature.outputs):
            raise ValueError("the session takes no memory of others")
        given = np.zeros((1, *_sizes(acceptance.tail)), acceptance.dtype)
        self.outputs: list[Tensor] = [np.zeros((1, *_sizes(spec.shape[1:])), spec.datatype.dtype) for spec in signature.outputs]
        self.inputs = {acceptance.name: given}
        self.row = given.reshape(-1)
        self.run = bind(self.inputs, dict(zip([spec.name for spec in signature.outputs], self.outputs, strict=True)))
        for value in (0.0, 1.0):
            self.row[:] = value
            self.run()
            for mine, other in zip(self.outputs, model.run(self.inputs), strict=True):
                if mine.dtype != other.dtype or mine.shape != other.shape or mine.tobytes() != other.tobytes():
                    raise ValueError("the session answers otherwise on memory of others")


def single_of(model: "LoadedModel") -> Single | None:
    """Where the model allows it."""
    try:
        return Single(model)
    except (AweighError, ValueError):
        return None


def _sizes(axes: tuple[int | str, ...]) -> list[int]:
    if not all(isinstance(axis, int) for axis in axes):
        raise ValueError("an axis varies")
    return [int(axis) for axis in axes]
