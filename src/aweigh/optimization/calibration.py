"""The calibration rows of a job: one tensor file of `input/NAME` rows, and `output/NAME`, what the variant they were asked of answered. Read by passes, wherever they run."""

from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.tensorfile import read_tensors
from aweigh.core.tensors import Tensor
from aweigh.optimization.passing import PassJob

_INPUT: Final = "input/"
_OUTPUT: Final = "output/"


def rows_and_answers(job: PassJob) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Rows by input, in the signature's order, and the answers to them by output, of those that were kept.

    Raises Unsupported where there are none, InvalidFile where an input has none.
    """
    if not job.calibration:
        raise Unsupported("there are no calibration rows")
    path = Path(job.calibration)
    tensors = read_tensors(path.read_bytes(), place=path.name)
    rows = {}
    for spec in job.signature.inputs:
        if _INPUT + spec.name not in tensors:
            raise InvalidFile(f"the calibration rows have no input '{spec.name}'")
        rows[spec.name] = tensors[_INPUT + spec.name][1]
    return rows, {name.removeprefix(_OUTPUT): tensor for name, (_, tensor) in tensors.items() if name.startswith(_OUTPUT)}


def input_rows(job: PassJob) -> dict[str, Tensor]:
    """Rows by input. Raises as `rows_and_answers`."""
    return rows_and_answers(job)[0]
