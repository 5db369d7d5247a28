"""A guard around variants that depart from their source: rows with NaN or infinities are refused, because nothing proves what the variant makes of them.

In a quantised graph such a row would also change the answers to the others of its batch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aweigh.core.errors import InvalidInput
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors


def guarded(session: Session, variant: Variant, signature: Signature) -> Session:
    """The session, which takes finite numbers alone where its variant departs from the source; itself otherwise."""
    floats = tuple(spec.name for spec in signature.inputs if spec.datatype.is_float)
    return _FiniteSession(session, variant, floats) if variant.departure is not None and floats else session


def finite_rows(inputs: Tensors, names: Sequence[str]) -> NDArray[np.bool_]:
    """Of each row, whether all of its floats are finite. Shape [rows]."""
    kept = np.ones(len(next(iter(inputs.values()))), dtype=np.bool_)
    for name in names:
        kept &= np.isfinite(inputs[name]).reshape(len(kept), -1).all(axis=1)
    return kept


class _FiniteSession:
    def __init__(self, session: Session, variant: Variant, floats: tuple[str, ...]) -> None:
        self._session = session
        self._floats = floats
        self._name = variant.name
        self._base = variant.departure.base if variant.departure else ""
        self.concurrent = session.concurrent
        self.isolated = session.isolated

    def run(self, inputs: Tensors) -> list[Tensor]:
        for name in self._floats:
            if not np.isfinite(inputs[name]).all():
                raise self._refusal(name, inputs[name])
        return self._session.run(inputs)

    def close(self) -> None:
        self._session.close()

    def _refusal(self, name: str, tensor: Tensor) -> InvalidInput:
        row = int(np.argwhere(~np.isfinite(tensor))[0][0]) if tensor.ndim else 0
        return InvalidInput(
            f"input '{name}' holds NaN or an infinity in row {row}, which the variant '{self._name}' was not proven with",
            hint=f"serve the variant '{self._base}', which answers such rows as the source does",
            row=row,
        )
