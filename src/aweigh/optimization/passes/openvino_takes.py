"""What a model must be for the passes of OpenVINO and NNCF, as far as it can be told without the libraries, and the ways of the latter's INT8."""

from collections.abc import Sequence
from typing import Final

from aweigh.core.errors import Unsupported
from aweigh.core.tensors import Datatype
from aweigh.optimization.passes.processors import saturates
from aweigh.optimization.passing import PassJob, Way

GOALS: Final = frozenset({"cpu", "latency", "throughput", "edge"})
"""Of what is faster, not smaller, or for processors alone."""
_SUFFIXES: Final = (".onnx", ".xml")
_FLOATS: Final = frozenset({"fp32", "fp64", "native"})


def check_takes(job: PassJob) -> None:
    """Raise Unsupported where OpenVINO cannot take the variant."""
    texts = [spec.name for spec in (*job.signature.inputs, *job.signature.outputs) if spec.datatype is Datatype.BYTES]
    if texts:
        raise Unsupported(f"'{texts[0]}' is text, which has no way through OpenVINO")
    if not job.variant.files or not job.variant.files[0].endswith(_SUFFIXES):
        raise Unsupported(f"OpenVINO reads ONNX files, which the files of variant '{job.variant.name}' are not")


def check_floats(job: PassJob) -> None:
    """Raise Unsupported where the variant's numbers have fewer bits already, too."""
    check_takes(job)
    if job.variant.precision not in _FLOATS:
        raise Unsupported(f"the variant is {job.variant.precision} already, and floats are what is quantised")


def int8_ways(job: PassJob) -> Sequence[Way]:
    """Ranges of activations on both sides of nought alike, or each as it is. Raises Unsupported."""
    check_floats(job)
    if not job.calibration:
        raise Unsupported("there are no calibration rows, from which the ranges of activations are taken")
    return [Way(name=preset, choices={"preset": preset, "half_range": saturates(job.device)}) for preset in ("mixed", "performance")]
