"""Further variants of what was packed: other runtimes and execution providers over the same file, each proven as the first was. Called by `assemble`.

What does not pass is left out, and the reason told with the variant that it was tried beside.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import Unsupported
from aweigh.core.nearest import nearest
from aweigh.core.package import Variant
from aweigh.core.plugins import Plugin, plugin, plugins
from aweigh.core.protocols import Progress, Prover
from aweigh.core.signature import Signature
from aweigh.core.versions import requirements
from aweigh.isolate import Environments
from aweigh.isolate.environments import pinned
from aweigh.packing.job import Packed
from aweigh.packing.words import why_failed

_ONNX: Final = "onnxruntime"
_LIGHTGBM: Final = "lightgbm"
_RUNS: Final = {"lleaves": _LIGHTGBM, "openvino": _ONNX, _ONNX: _ONNX}
"""Runtimes that run the files of another as they are, and whose."""
FORMS: Final = ("tensorflow", "torch", "torchscript", "torch-eager")
"""Forms of a network that its framework writes beside the first that passes: for what runs nothing else."""
_FILES: Final = {_ONNX: "ONNX", _LIGHTGBM: "LightGBM model"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Also:
    """A runtime, and of ONNX Runtime the execution provider."""

    runtime: str
    provider: str = ""

    @property
    def text(self) -> str:
        """As a person writes it."""
        return f"{self.runtime}:{self.provider}" if self.provider else self.runtime

    @property
    def row(self) -> Plugin:
        """The runtime's."""
        return plugin("runtime", self.runtime)


def read_also(texts: Sequence[str]) -> tuple[Also, ...]:
    """RUNTIME, or onnxruntime:PROVIDER, each once; without the forms. Raises Unsupported with the nearest that there is."""
    return tuple(dict.fromkeys(_read(text) for text in texts if text not in FORMS))


def read_forms(texts: Sequence[str]) -> tuple[str, ...]:
    """The forms among what is wanted, each once."""
    return tuple(dict.fromkeys(text for text in texts if text in FORMS))


def with_forms_told(packed: Packed, forms: Sequence[str]) -> Packed:
    """The outcome, whose first variant tells which of these forms its framework did not make."""
    made = {word for variant in packed.variants for word in (variant.name, variant.runtime)}
    told = [f"{form}: this model has no such form that answers as it does" for form in forms if form not in made]
    return dataclasses.replace(packed, variants=_telling(packed.variants, told)) if told else packed


def _read(text: str) -> Also:
    runtime, _, provider = text.partition(":")
    known = [*FORMS, *(name for name in _RUNS if name != _ONNX)] + [
        f"{_ONNX}:{row.name}" for row in plugins("provider") if row.name != "cpu"
    ]
    if text not in known:
        near = nearest(text, known)
        raise Unsupported(
            f"--also {text!r} is nothing that runs another's files",
            hint=f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}",
        )
    return Also(runtime=runtime, provider=provider)


def with_also(packed: Packed, wanted: Sequence[Also], prove: Prover, environments: Environments | None, progress: Progress) -> Packed:
    """The outcome with every further variant that answers as the source does."""
    told: list[str] = []
    proven: list[Variant] = []
    for also in wanted:
        runs = _RUNS[also.runtime]
        base = next((variant for variant in packed.variants if variant.runtime == runs and variant.evidence), None)
        if base is None or base.evidence is None:
            told.append(f"{also.text}: the package has no {_FILES[runs]} that it could run")
            continue
        progress(f"proving: {also.text}")
        variant = _variant(base, also, [each.name for each in (*packed.variants, *proven)])
        tried: list[str] = []
        for repair, attempt in _attempts(variant, packed.signature):
            evidence = prove(
                attempt,
                packed.signature,
                (*packed.golden, *packed.generated),
                packed.files.__getitem__,
                strength=base.evidence.strength,
                data=base.evidence.data,
                environments=environments.folder if environments is not None else None,
            )
            tried.append(f"{also.text}{repair}: {'passed' if evidence.passed else why_failed(evidence)}")
            if evidence.passed:
                proven.append(msgspec.structs.replace(attempt, evidence=msgspec.structs.replace(evidence, repairs=tuple(tried))))
                break
        else:
            told += tried
    return dataclasses.replace(packed, variants=(*_telling(packed.variants, told), *proven))


def _attempts(variant: Variant, signature: Signature) -> list[tuple[str, Variant]]:
    """The variant as it is; and of OpenVINO, whose operators may make numbers of NaN and of what infinities become, with such rows answered with NaN."""
    attempts = [("", variant)]
    if variant.runtime == "openvino" and signature.batched:
        options = {**variant.options}
        for option, what in (("nan_rows", "a NaN"), ("infinite_rows", "a NaN or an infinity")):
            options |= {option: "nan"}
            attempts.append((f", with rows that hold {what} answered with NaN", msgspec.structs.replace(variant, options={**options})))
    return attempts


def _variant(base: Variant, also: Also, taken: Sequence[str]) -> Variant:
    name = also.provider or also.runtime
    library = also.row.libraries[0]
    return msgspec.structs.replace(
        base,
        name=f"{base.name}-{name}" if name in taken else name,
        runtime=also.runtime,
        options=_options(base, also),
        environment=requirements((library, "numpy")) if not also.row.missing() else pinned(also.row.environment, (library, "numpy")),
        evidence=None,
    )


def _options(base: Variant, also: Also) -> dict[str, str | int | float | bool]:
    """How the columns become rows stays; threads and the like of the other library do not."""
    if also.provider:
        return {**base.options, "providers": also.provider}
    return dict(base.options) if also.runtime == "lleaves" else {}


def _telling(variants: Sequence[Variant], told: Sequence[str]) -> tuple[Variant, ...]:
    """The variants, the first of which tells what else was tried."""
    first, *others = variants
    if not told or first.evidence is None:
        return tuple(variants)
    evidence = msgspec.structs.replace(first.evidence, repairs=(*first.evidence.repairs, *told))
    return (msgspec.structs.replace(first, evidence=evidence), *others)


def provide(wanted: Sequence[Also], environments: Environments | None, *, elsewhere: bool, progress: Progress) -> None:
    """Make the environments that these need, before the child without network does the work; `elsewhere`: what is installed here is not there."""
    for also in wanted:
        if environments is not None and also.row.environment and (elsewhere or also.row.missing()):
            progress(f"{', '.join(also.row.libraries)}: using an environment that has it")
            environments.home(also.row.environment, progress=progress)


def environments_in(folder: str) -> Environments | None:
    """Those that are there, as the child is told of them."""
    return Environments(Path(folder), allowed=False) if folder else None
