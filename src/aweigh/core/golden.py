"""The golden set: inputs and the answers that the source model gave in its own framework. Made by `packing`, replayed everywhere else."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from aweigh.core.errors import InvalidFile
from aweigh.core.package import GoldenCase, PackageManifest, Variant
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
    ties: bool = False
    """The source's answer is one of several that are equally right: a variant may give another, which the evidence counts. Such a case is never kept in a package."""

    @property
    def rows(self) -> int:
        """Length of the first axis of the first input; 1 for a scalar."""
        first = next(iter(self.inputs.values()))
        return int(first.shape[0]) if first.ndim else 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a variant is held to: cases, and the signature whose tolerances bound them."""

    signature: Signature
    golden: list[GoldenAnswers]


def golden_files(
    signature: Signature, answers: Sequence[GoldenAnswers], *, folder: str = GOLDEN_FOLDER
) -> tuple[tuple[GoldenCase, ...], dict[str, bytes]]:
    """The manifest's entries and the package files of a golden set."""
    cases: list[GoldenCase] = []
    files: dict[str, bytes] = {}
    for answer in answers:
        path = f"{folder}/{answer.name}.tensors"
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


def held_to(manifest: PackageManifest, variant: Variant, path: Callable[[str], Path]) -> Held:
    """The source's answers; of a variant that departs from them, its own. Raises as `read_golden`."""
    departure = variant.departure
    if departure is None:
        return Held(signature=manifest.signature, golden=read_golden(manifest, path))
    signature = departure.held(manifest.signature)
    return Held(signature=signature, golden=[_read_case(signature, case, path) for case in departure.golden])


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
