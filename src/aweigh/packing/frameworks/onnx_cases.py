"""Test data that came with an ONNX model (`test_data_set_N/input_M.pb`, `output_M.pb`): its rows are a sample, its outputs must be the model's answers."""

import dataclasses
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import google.protobuf.message
import numpy as np
import onnx
from onnx import numpy_helper

from aweigh.core.compare import compare
from aweigh.core.errors import AweighError, InvalidFile, ProofFailed, TooLarge
from aweigh.core.evidence import Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Tensor
from aweigh.packing.edges import GoldenSet
from aweigh.packing.frameworks.network import Rows
from aweigh.packing.refused import Asker

_MAX_BYTES: Final = 512 * 1024 * 1024
_WHY: Final = "inputs and outputs that came with the model"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StatedCase:
    """One data set; `outputs` are in the signature's order, and may be fewer than it has."""

    name: str
    inputs: dict[str, Tensor]
    outputs: list[Tensor]


def read_cases(folders: Sequence[Path], signature: Signature) -> list[StatedCase]:
    """The data sets as tensors. Raises InvalidFile that names file and input where they do not fit the model."""
    return [_read(folder, signature) for folder in folders]


def rows_of_cases(cases: Sequence[StatedCase]) -> Rows:
    """The data sets as the sample: their rows together, or the first one's where they differ in size."""
    first = cases[0].inputs
    fit = [case for case in cases if all(case.inputs[name].shape[1:] == tensor.shape[1:] and tensor.ndim for name, tensor in first.items())]
    rows = {name: np.concatenate([case.inputs[name] for case in fit]) for name in first} if fit else dict(first)
    return Rows(given=rows, model=rows, strength=Strength.FULL, data=f"{len(cases)} data sets that came with the model, and edge rows")


def with_cases(golden: GoldenSet, cases: Sequence[StatedCase], ask: Asker) -> GoldenSet:
    """The golden set and the data sets in it. Raises ProofFailed where the model does not give the outputs that are stated."""
    kept = []
    for case in cases:
        answers = ask(case.inputs)
        specs = golden.signature.outputs[: len(case.outputs)]
        found = compare(specs, case.outputs, answers[: len(case.outputs)])
        bad = next((output for output in found.outputs if output.mismatches), None)
        if bad is not None:
            what = bad.problem or f"{bad.mismatches} elements differ, by {bad.max_abs:.3g} at most"
            raise ProofFailed(
                f"the model does not give the output '{bad.name}' that {case.name} states: {what}",
                hint="model and test data belong to different versions, or one of them is damaged: copy both again",
            )
        outputs = [*case.outputs, *answers[len(case.outputs) :]]
        kept.append(GoldenAnswers(name=case.name, why=_WHY, inputs=case.inputs, outputs=outputs))
    return dataclasses.replace(golden, stored=(*golden.stored, *kept))


def _read(folder: Path, signature: Signature) -> StatedCase:
    inputs = {spec.name: _tensor(folder / f"input_{at}.pb", spec) for at, spec in enumerate(signature.inputs)}
    outputs: list[Tensor] = []
    for at, spec in enumerate(signature.outputs):
        place = folder / f"output_{at}.pb"
        if not os.path.lexists(place):
            break
        outputs.append(_tensor(place, spec))
    try:
        signature.check(inputs)
    except AweighError as error:
        raise InvalidFile(f"{folder}: {error.message}", hint="the test data belong to another model") from error
    return StatedCase(name=folder.name, inputs=inputs, outputs=outputs)


def _tensor(place: Path, spec: TensorSpec) -> Tensor:
    try:
        status = os.lstat(place)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidFile(f"{place}: a link or no plain file", hint="do not trust this folder")
        if status.st_size > _MAX_BYTES:
            raise TooLarge(f"{place}: {status.st_size} bytes, of {_MAX_BYTES} that are read")
        proto = onnx.TensorProto.FromString(place.read_bytes())
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            raise InvalidFile(f"{place}: its data lie in another file", hint="do not trust this folder")
        array: Tensor = numpy_helper.to_array(proto)
    except (OSError, ValueError, TypeError, google.protobuf.message.DecodeError) as error:
        raise InvalidFile(f"{place}: no tensor for '{spec.name}': {error}", hint="copy the whole folder again") from error
    if array.dtype != spec.datatype.dtype and array.dtype.kind not in "OUS":
        raise InvalidFile(
            f"{place}: {array.dtype}, and '{spec.name}' is {spec.datatype.value}", hint="the test data belong to another model"
        )
    return array
