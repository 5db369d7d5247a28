"""The golden set: inputs and the answers that the source model gave in its own framework. Made by `packing`, replayed everywhere else."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from aweigh.core.errors import InvalidFile
from aweigh.core.package import GoldenCase, PackageManifest
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensorfile import read_tensors, write_tensors
from aweigh.core.tensors import Datatype, Tensor

GOLDEN_FOLDER = "golden"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswers:
    """One case: named inputs, and the source's outputs in the signature's order. `why` is a phrase: "rows at tree thresholds"."""

    name: str
    why: str
    inputs: dict[str, Tensor]
    outputs: list[Tensor]

    @property
    def rows(self) -> int:
        """Length of the first axis of the first input; 1 for a scalar."""
        first = next(iter(self.inputs.values()))
        return int(first.shape[0]) if first.ndim else 1


def golden_files(signature: Signature, answers: Sequence[GoldenAnswers]) -> tuple[tuple[GoldenCase, ...], dict[str, bytes]]:
    """The manifest's entries and the package files of a golden set."""
    cases: list[GoldenCase] = []
    files: dict[str, bytes] = {}
    for answer in answers:
        path = f"{GOLDEN_FOLDER}/{answer.name}.tensors"
        named: dict[str, tuple[Datatype, Tensor]] = {
            f"input/{spec.name}": (spec.datatype, answer.inputs[spec.name]) for spec in signature.inputs
        }
        named |= {f"output/{spec.name}": (spec.datatype, output) for spec, output in zip(signature.outputs, answer.outputs, strict=True)}
        files[path] = write_tensors(named)
        cases.append(GoldenCase(name=answer.name, why=answer.why, rows=answer.rows, file=path))
    return tuple(cases), files


def read_golden(manifest: PackageManifest, path: Callable[[str], Path]) -> list[GoldenAnswers]:
    """Read a package's golden set; `path` maps package paths to files. Raises InvalidFile where it does not fit the signature."""
    return [_read_case(manifest.signature, case, path) for case in manifest.golden]


def _read_case(signature: Signature, case: GoldenCase, path: Callable[[str], Path]) -> GoldenAnswers:
    tensors = read_tensors(path(case.file).read_bytes(), place=case.file)

    def one(prefix: str, spec: TensorSpec) -> Tensor:
        datatype, tensor = tensors.get(f"{prefix}/{spec.name}", (None, None))
        if tensor is None or datatype is not spec.datatype:
            raise InvalidFile(f"{case.file}: no {spec.datatype.value} tensor for {prefix} '{spec.name}'")
        return tensor

    return GoldenAnswers(
        name=case.name,
        why=case.why,
        inputs={spec.name: one("input", spec) for spec in signature.inputs},
        outputs=[one("output", spec) for spec in signature.outputs],
    )
