"""The calibration rows of a job: one tensor file of `input/NAME` rows, and `output/NAME`, what the variant they were asked of answered. Read by passes, wherever they run."""

from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.tensorfile import read_tensors
from aweigh.core.tensors import Tensor
from aweigh.optimize.passing import PassJob

_INPUT: Final = "input/"
_OUTPUT: Final = "output/"


def input_rows(job: PassJob) -> dict[str, Tensor]:
    """Rows by input, in the signature's order. Raises Unsupported where there are none, InvalidFile where an input has none."""
    found = _read(job, _INPUT)
    missing = [spec.name for spec in job.signature.inputs if spec.name not in found]
    if missing:
        raise InvalidFile(f"the calibration rows have no input '{missing[0]}'")
    return {spec.name: found[spec.name] for spec in job.signature.inputs}


def output_rows(job: PassJob) -> dict[str, Tensor]:
    """The answers by output: of those that were kept. Raises Unsupported where there are no rows."""
    return _read(job, _OUTPUT)


def _read(job: PassJob, part: str) -> dict[str, Tensor]:
    if not job.calibration:
        raise Unsupported("there are no calibration rows")
    path = Path(job.calibration)
    tensors = read_tensors(path.read_bytes(), place=path.name)
    return {name.removeprefix(part): tensor for name, (_, tensor) in tensors.items() if name.startswith(part)}
