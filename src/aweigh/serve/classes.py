"""The classification extension: an output's largest values as texts "value:index[:label]", for every row. Used by both doors of Open Inference."""

import numpy as np

from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Tensor, count_of


def classified(output: Tensor, classes: int, spec: TensorSpec, signature: Signature) -> Tensor:
    """The `classes` largest values of each row, largest first, as BYTES of shape [rows, classes] ([classes] without a batch axis).

    Rows shorter than `classes` give all they have. Equal values keep their order, and NaN comes last.
    """
    length = len(output) if signature.batched else 1
    rows = output.reshape(length, count_of(output.shape[1:]) if signature.batched else output.size)
    count = min(classes, rows.shape[1])
    labels = signature.labels if spec.role in {"probability", "decision"} and len(signature.labels) == rows.shape[1] else ()
    found = np.empty((len(rows), count), dtype=object)
    for at, row in enumerate(rows):
        for rank, index in enumerate(_largest(row)[:count].tolist()):
            text = f"{_number(row[index])}:{index}"
            found[at, rank] = f"{text}:{labels[index]}" if labels else text
    return found if signature.batched else found[0]


def _largest(row: Tensor) -> Tensor:
    """Positions, from the largest value to the smallest."""
    if row.dtype.kind == "f":
        return np.argsort(np.negative(row.astype(np.float64)), kind="stable")  # NaN sorts behind everything
    return (
        len(row) - 1 - np.argsort(row[::-1], kind="stable")[::-1]
    )  # integers may have no negative: from behind, so that equals keep order


def _number(value: np.generic) -> str:
    """As C++ writes it: six digits for a float, none for an integer."""
    return f"{float(value):f}" if value.dtype.kind == "f" else str(int(value))
