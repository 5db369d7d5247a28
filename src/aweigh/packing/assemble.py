"""Puts a package together from what a framework made: hooks around it, golden set, provenance, manifest. Called by `pack` and its child."""

import dataclasses
import datetime as dt
import hashlib
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aweigh.core.errors import AweighError, InvalidInput, ProofFailed, Unsupported
from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.package import FORMAT_VERSION, Hooks, PackageManifest, Provenance, Variant
from aweigh.core.padding import with_padding
from aweigh.core.protocols import Draft, Prover
from aweigh.core.replay import replay
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.core.tolerances import with_tolerances
from aweigh.packing.also import read_also, read_forms, with_also, with_forms_told
from aweigh.packing.hooks import hook_files
from aweigh.packing.job import Framework, Job, Packed, PackRequest
from aweigh.packing.onnx_wire import opset
from aweigh.packing.recognise import Recognised
from aweigh.runtimes.hooks import load_variant
from aweigh.runtimes.hooks_process import load_hook

if TYPE_CHECKING:
    from aweigh.packing.media_package import Media

_HASH_CHUNK = 1024 * 1024
_GOLDEN_ROWS = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    """The package's own signature and golden set, hooks included."""

    signature: Signature
    golden: tuple[GoldenAnswers, ...]
    hooks: Hooks


def assemble(
    framework: Framework,
    model: object,
    request: PackRequest,
    work: Path,
    *,
    source: Path | None = None,
    recognised: Recognised | None = None,
    cases: tuple[Path, ...] = (),
) -> Draft:
    """Let the framework pack the model and wrap the outcome as a draft."""
    _check_options(request)
    media = _media(request)
    job = _job(model, request, work, media, source, recognised, cases)
    wanted = read_also(request.also)
    packed = framework.pack(job)
    _check_opset(packed, request.opset)
    packed = with_forms_told(packed, job.also)
    if wanted:
        packed = with_also(packed, wanted, job.prove, request.environments, request.progress)
    packed = dataclasses.replace(packed, signature=_told(packed.signature, request))
    if media is not None:
        from aweigh.packing.media_package import with_media  # as in _media

        packed = with_media(packed, media, job.prove, request.progress)
    around = _with_hooks(packed, request, job.before if media is None else None)
    request.progress("writing the package")
    kept, golden = golden_files(around.signature, around.golden)
    hooks = {name: file for text in (request.pre, request.post) if text for name, file in hook_files(text).items()}
    manifest = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=around.signature,
        variants=packed.variants,
        golden=kept,
        provenance=_provenance(packed, request, source, recognised),
        hooks=around.hooks,
        contains_pickle=packed.contains_pickle,
        licence=request.licence,
        description=request.description,
        metrics=packed.metrics,
    )
    if hooks:
        request.progress("proving: through the hooks")
        _check_hooked(manifest, around.golden, {**packed.files, **hooks})
    return Draft(manifest=manifest, files={**packed.files, **golden, **hooks})


def _job(
    model: object,
    request: PackRequest,
    work: Path,
    media: "Media | None",
    source: Path | None,
    recognised: Recognised | None,
    cases: tuple[Path, ...],
) -> Job:
    """What the framework is asked for."""
    sample, labels = (media.files, request.labels) if media else _sample(request)
    return Job(
        model=model,
        recognised=recognised,
        source=source,
        sample=sample,
        labels=labels,
        trust=request.trust or source is None,
        prove=_told_prover(request) if request.padding or request.tolerances else request.prove,
        progress=request.progress,
        work=work,
        cases=cases,
        homes=request.homes,
        caps=request.caps,
        factory=request.factory,
        opset=request.opset,
        also=read_forms(request.also),
        before=media.before if media else load_hook(request.pre, "pre") if request.pre else None,
    )


def _check_options(request: PackRequest) -> None:
    """Raise InvalidInput for options that do not go together."""
    if request.pre and request.sample is None:
        raise InvalidInput("--pre needs a sample: its rows show what the hook is given", hint="give --sample")
    if request.padding and (request.pre or request.post):
        raise InvalidInput(
            "padding and hooks do not go together: hooks would see what was filled up", hint="leave out --pad, or --pre and --post"
        )
    if request.tolerances and request.post:
        raise InvalidInput("--tolerance is of the model's own outputs, which --post replaces", hint="leave one of them out")


def _check_opset(packed: Packed, wanted: int) -> None:
    """Raise Unsupported where the ONNX has another opset than was asked for: exporters raise it and say nothing."""
    found = [opset(packed.files[variant.files[0]]) for variant in packed.variants if variant.runtime == "onnxruntime" and variant.files]
    if wanted and wanted not in found:
        tried = "; ".join(note for variant in packed.variants if variant.evidence for note in variant.evidence.repairs)
        wrote = f"what {packed.framework} wrote has {found[0]}" if found else f"{packed.framework} made no ONNX that passed"
        raise Unsupported(
            f"opset {wanted} was asked for, {wrote}{f' ({tried})' if tried else ''}", hint="leave out --opset, or ask for another"
        )


def _sample(request: PackRequest) -> tuple[object, object]:
    """Sample and labels; the labels may be named as one of the sample's columns."""
    sample, labels = request.sample, request.labels
    if sample is None or not isinstance(labels, str) or Path(labels).is_file():
        return sample, labels
    from aweigh.packing.sample import labels_apart  # brings pandas, as in _media

    return labels_apart(sample, labels)


def _media(request: PackRequest) -> "Media | None":
    """The files that the model is asked with. Raises InvalidInput where other options stand in their way."""
    if request.plan is None:
        return None
    if request.pre or request.post or request.padding:
        raise InvalidInput("--image and --sound do not go together with --pre, --post and --pad", hint="leave these out")
    from aweigh.packing.media_package import (
        media_of,  # brings pandas, which neither the parent nor MXNet's side has a use for, or may not have
    )

    return media_of(request.plan, request.sample)


def _told(signature: Signature, request: PackRequest) -> Signature:
    """The signature with what the person says of it."""
    padded = with_padding(signature, request.padding) if request.padding else signature
    return with_tolerances(padded, request.tolerances) if request.tolerances else padded


def _told_prover(request: PackRequest) -> Prover:
    """The prover, told of padding and tolerances: its evidence then says whether the variant stands them."""

    def told(
        variant: Variant,
        signature: Signature,
        golden: Sequence[GoldenAnswers],
        path: Callable[[str], Path],
        *,
        strength: Strength,
        data: str,
        environments: Path | None = None,
    ) -> Evidence:
        signature = _told(signature, request)
        return request.prove(variant, signature, golden, path, strength=strength, data=data, environments=environments)

    return told


def _with_hooks(packed: Packed, request: PackRequest, before: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None) -> _Around:
    if not request.pre and not request.post:
        return _Around(signature=packed.signature, golden=packed.golden, hooks=Hooks())
    after = load_hook(request.post, "post") if request.post else None

    def through(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inner = before(rows) if before else dict(rows)
        packed.signature.check(inner)
        outputs = {spec.name: out for spec, out in zip(packed.signature.outputs, packed.ask(inner), strict=True)}
        return after(outputs) if after else outputs

    batched = packed.signature.batched
    rows = _hooked_rows(packed, as_given=before is not None)
    answers = through(rows)
    signature = Signature(
        inputs=tuple(_spec(name, tensor, "", batched=batched) for name, tensor in rows.items()) if before else packed.signature.inputs,
        outputs=tuple(_spec(name, tensor, _role(packed.signature, name), batched=batched) for name, tensor in answers.items()),
        task=packed.signature.task,
        columns=_columns(rows) if before else packed.signature.columns,
        labels=packed.signature.labels,
    )
    one = {name: tensor[:1] for name, tensor in rows.items()}
    cases = [("sample", "rows of the sample", rows, answers)]
    cases += [("single", "a batch of one", one, through(one))] if batched else []
    golden = tuple(
        GoldenAnswers(name=name, why=why, inputs=dict(inputs), outputs=[outputs[spec.name] for spec in signature.outputs])
        for name, why, inputs, outputs in cases
    )
    files = sorted({name for text in (request.pre, request.post) if text for name in hook_files(text)})
    names = tuple(spec.name for spec in signature.outputs)
    hooks = Hooks(pre=request.pre, post=request.post, files=tuple(files), model_signature=packed.signature, outputs=names)
    return _Around(signature=signature, golden=golden, hooks=hooks)


def _hooked_rows(packed: Packed, *, as_given: bool) -> dict[str, Tensor]:
    """What the hooks are tried with: some rows of the sample; of a model without a batch axis one whole request."""
    if packed.signature.batched:
        return {name: tensor[:_GOLDEN_ROWS] for name, tensor in packed.request_sample.items()}
    return dict(packed.request_sample if as_given or not packed.golden else packed.golden[0].inputs)


def _check_hooked(manifest: PackageManifest, golden: Sequence[GoldenAnswers], files: Mapping[str, Path]) -> None:
    """Raise ProofFailed unless the package, loaded as a server loads it, answers its golden set through its hooks. One variant tells: each was proven
    without them."""
    try:
        for case in golden:
            manifest.signature.check(case.inputs)
        session = load_variant(manifest, manifest.variants[0], files.__getitem__)
        try:
            replay(session, manifest.signature, golden)
        finally:
            session.close()
    except AweighError as error:
        raise ProofFailed(
            f"with its hooks around it the model does not answer as it did when it was packed: {error.message}",
            hint="hooks must always answer the same to the same tensors, from files beside them",
        ) from error


def _spec(name: str, tensor: Tensor, role: str, *, batched: bool) -> TensorSpec:
    axes: tuple[int | str, ...] = tuple(int(size) for size in tensor.shape)
    if batched and not axes:
        raise InvalidInput(f"hook output '{name}' has no batch axis", hint="keep one row per request row on the first axis")
    return TensorSpec(name=name, datatype=datatype_of(tensor), shape=(BATCH, *axes[1:]) if batched else axes, role=role)


def _columns(rows: Mapping[str, Tensor]) -> tuple[Column, ...]:
    """The columns of a frame that feeds the inputs one by one; none where an input is wider."""
    if not all(tensor.ndim == 2 and tensor.shape[1] == 1 for tensor in rows.values()):
        return ()
    return tuple(Column(name=name, kind=_kind(datatype_of(tensor)), input=name, nullable=True) for name, tensor in rows.items())


def _kind(datatype: Datatype) -> ColumnKind:
    if datatype is Datatype.BYTES:
        return ColumnKind.TEXT
    if datatype is Datatype.BOOL:
        return ColumnKind.BOOLEAN
    return ColumnKind.INTEGER if datatype.is_integer else ColumnKind.NUMBER


def _role(signature: Signature, name: str) -> str:
    return next((spec.role for spec in signature.outputs if spec.name == name), "")


def _provenance(packed: Packed, request: PackRequest, source: Path | None, recognised: Recognised | None) -> Provenance:
    made = provenance(request, source, packed.framework, packed.versions)
    by_format = recognised is not None and recognised.format in {"pickle", "joblib", "skops", "torch", "python"}
    trusted = request.trust and (by_format or packed.pickled)
    digest = _digest_of_several((source, *packed.beside)) if source and packed.beside else made.source_digest
    return msgspec.structs.replace(made, source_class=packed.source_class, source_digest=digest, trusted=trusted)


def provenance(request: PackRequest, source: Path | None, framework: str, versions: Mapping[str, str]) -> Provenance:
    """Where and when a package is made, and of which file."""
    return Provenance(
        framework=framework,
        source_file=source.name if source else "",
        source_digest=_digest(source) if source else "",
        versions={"python": platform.python_version(), **versions},
        source_address=request.origin,
        git_commit=_git_commit(source.parent if source else Path.cwd()),
        command=request.command,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count() or 1} cores",
        packed_at=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _digest_of_several(files: Sequence[Path]) -> str:
    """Of the lines `NAME DIGEST` of files that belong together, in order, whichever of them was given."""
    lines = sorted(f"{file.name} {_digest(file)}\n" for file in files)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _digest(path: Path) -> str:
    """Of a file's bytes; of a folder, of the lines `PATH DIGEST` of its files in order."""
    digest = hashlib.sha256()
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            if each.is_file():
                digest.update(f"{each.relative_to(path).as_posix()} {_digest(each)}\n".encode())
        return f"sha256:{digest.hexdigest()}"
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _git_commit(folder: Path) -> str:
    """The commit of the checkout that holds the folder, or "": a note for people, never a reason to fail."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
