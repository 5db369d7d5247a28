"""What the targets share that render for another model server: which variant such a server can run, what its file takes and gives, and how a folder is put where it reads.

Called by `targets/tfserving.py`, `torchserve.py`, `triton.py` and `mlflow.py`. Files are put in place whole: under another name first, then renamed.
"""

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from aweigh.core.errors import Conflict, InvalidInput, StoreUnavailable, Unsupported
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.signature import BATCH, Signature
from aweigh.core.tensors import Datatype
from aweigh.deploy.target import Applied, DeployJob, Finding

_LATENCY: Final = "latency_us_b1"
_TEMPORARY: Final = ".aweigh-"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An input or output as the model's own file has it; -1 is an axis of any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """All of them, in the signature's order. `batched` where every one has rows first, as many as are sent."""

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    batched: bool


def bare(manifest: PackageManifest, variant: Variant) -> str:
    """What aweigh does around this variant, which its file alone does not; "" where there is nothing."""
    if manifest.hooks.pre or manifest.hooks.post:
        return "functions that run before or after its model"
    if manifest.parts:
        return "other packages, which it joins to a pipeline"
    if variant.step is not None:
        return f"a step of kind '{variant.step.kind}' around its model"
    lowered = [option for option in variant.options if option.startswith("lowercase:")]
    return "texts that are lowered before its model sees them" if lowered else ""


def variant_for(job: DeployJob, server: str, fits: Callable[[Variant], str], *, hint: str) -> tuple[Variant, str]:
    """The variant that the server can run, and a note where it is not the job's own; `fits` says why one does not, "" where it does.

    Raises Unsupported, naming every variant with its reason.
    """
    proven = [each for each in job.package.manifest.variants if each.evidence is not None and each.evidence.passed]
    others = sorted((each for each in proven if each.name != job.variant.name), key=_time_us)
    reasons = []
    for variant in (job.variant,) if job.variant_asked else (job.variant, *others):
        why = bare(job.package.manifest, variant) or fits(variant)
        if not why:
            note = (
                "" if variant is job.variant else f"variant '{variant.name}' is rendered, since {server} does not run '{job.variant.name}'"
            )
            return variant, note
        reasons.append(f"variant '{variant.name}': {why}")
    raise Unsupported(f"{job.package.reference} cannot be given to {server}: {'; '.join(reasons)}", hint=hint)


def _time_us(variant: Variant) -> float:
    return variant.evidence.figures.get(_LATENCY, float("inf")) if variant.evidence else float("inf")


def stated_edges(signature: Signature) -> Edges:
    """As the signature has them."""

    def edges(specs: Sequence[object]) -> tuple[Edge, ...]:
        return tuple(Edge(name=each.name, datatype=each.datatype, shape=tuple(each.wire_shape)) for each in specs)  # type: ignore[attr-defined]  # of TensorSpec

    return Edges(inputs=edges(signature.inputs), outputs=edges(signature.outputs), batched=signature.batched)


def batches(signature: Signature, variant: Variant) -> bool:
    """Whether the server may run requests together: where the proof found that a row's answer does not hang on its neighbours."""
    return signature.batched and variant.evidence is not None and variant.evidence.batch_invariant


def uneven(signature: Signature) -> bool:
    """Whether an input has further axes of any size: requests of different sizes cannot simply be joined."""
    return any(isinstance(axis, str) and axis != BATCH for spec in signature.inputs for axis in spec.shape)


def version_of(job: DeployJob) -> int:
    """The package's own version: the number that servers keep versions under."""
    return job.package.reference.version or 1


def below(variant: Variant, folder: str, path: Callable[[str], Path]) -> dict[str, Path]:
    """The variant's files under a folder, as they lie beside its entry. Raises Unsupported where one lies elsewhere."""
    root = PurePosixPath(variant.files[0]).parent
    strange = [file for file in variant.files if not PurePosixPath(file).is_relative_to(root)]
    if strange:
        raise Unsupported(f"{strange[0]} does not lie beside {variant.files[0]}", hint="pack the model again")
    return {f"{folder}/{PurePosixPath(file).relative_to(root)}": path(file) for file in variant.files}


def check_files(folder: Path, wanted: Mapping[str, bytes | Path]) -> list[Finding]:
    """What is not there any more, is a link, or is not what the package holds."""
    findings = []
    for name, content in wanted.items():
        place = folder / name
        link = next((part for part in (place, *place.parents) if part.is_symlink() and part.is_relative_to(folder)), None)
        if link is not None:
            findings.append(Finding(place=name, message="a link, which leads out of what is deployed", hint="render again with --force"))
        elif not place.is_file():
            findings.append(Finding(place=name, message="is not there", hint="render again with --force"))
        elif isinstance(content, Path) and _digest(place) != _digest(content):
            findings.append(Finding(place=name, message="is not the package's file", hint="render again with --force"))
    return findings


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def put(
    folder: Path, names: Sequence[str] | Mapping[str, str], destination: str, *, option: str, before: Mapping[str, str] | None = None
) -> Applied:
    """Copy files or folders of `folder` to where the server reads, each whole or not at all. The same ones a second time change nothing.

    `names` may say another place for each; `before` are the facts of what was put there earlier, which `take_away` then takes too.
    Raises InvalidInput without a destination, Conflict where something else has the place of a folder, StoreUnavailable.
    """
    if not destination:
        raise InvalidInput(f"it is not said where the server reads its models: {option} is empty", hint=f"say --set {option}=DIR")
    root, places = _root(destination), _places(names)
    try:
        root.mkdir(parents=True, exist_ok=True)
        digests = {place: _put(folder / name, root / place) for name, place in places.items()}
    except OSError as error:
        raise StoreUnavailable(f"{root} cannot be written: {error.strerror}", hint="check the folder and the space left") from error
    placed = _placed(before or {})
    placed.setdefault(str(root), {}).update({place: [digest] for place, digest in digests.items()})
    return Applied(facts=_facts(placed), address=str(root / next(iter(places.values()))))


def to_be_put(folder: Path, names: Sequence[str] | Mapping[str, str], destination: str, before: Mapping[str, str]) -> Mapping[str, str]:
    """The facts with which `take_away` takes what `put` had placed where it ends midway, and what was there before."""
    placed = _placed(before)
    if destination:
        there = placed.setdefault(str(_root(destination)), {})
        for name, place in _places(names).items():
            there[place] = [*there.get(place, []), _tree_digest(folder / name)]
    return _facts(placed)


def take_away(facts: Mapping[str, str]) -> None:
    """Remove what `put` placed, where it is still what was placed. Raises Conflict for what a person changed, StoreUnavailable."""
    placed = {Path(root) / name: (Path(root), digests) for root, names in _placed(facts).items() for name, digests in names.items()}
    for place, (_, digests) in placed.items():
        if place.exists() and _tree_digest(place) not in digests:
            raise Conflict(f"{place} is not what was deployed any more", hint="look at it, and remove it by hand")
    for place, (root, _) in placed.items():
        try:
            _removed(place)
            parent = place.parent
            while parent != root and parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
                parent = parent.parent
        except OSError as error:
            raise StoreUnavailable(f"{root} cannot be written: {error.strerror}", hint="check its permissions") from error


def _root(destination: str) -> Path:
    return Path(destination).expanduser().resolve()


def _places(names: Sequence[str] | Mapping[str, str]) -> Mapping[str, str]:
    return names if isinstance(names, Mapping) else {name: name for name in names}


def _placed(facts: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Where -> what below it -> the digests that it may have."""
    return msgspec.json.decode(facts.get("placed", "{}"), type=dict[str, dict[str, list[str]]])


def _facts(placed: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, str]:
    return {"placed": msgspec.json.encode(placed).decode()}


def _put(source: Path, place: Path) -> str:
    digest = _tree_digest(source)
    if place.exists() and _tree_digest(place) == digest:
        return digest
    if place.is_dir():
        raise Conflict(
            f"{place} is there already and holds something else", hint="versions do not change: deploy the next one, or remove it"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=place.parent, prefix=_TEMPORARY))
    try:
        new = work / "new"
        shutil.copytree(source, new) if source.is_dir() else shutil.copyfile(source, new)
        os.replace(new, place)  # noqa: PTH105  # of a file or a folder alike
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return digest


def _removed(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _tree_digest(place: Path) -> str:
    if place.is_file():
        return _digest(place)
    lines = [f"{_digest(each)} {each.relative_to(place).as_posix()}" for each in sorted(place.rglob("*")) if each.is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
