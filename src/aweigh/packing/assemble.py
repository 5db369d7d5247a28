"""Puts a package together from what a framework made: hooks around it, golden set, provenance, manifest. Called by `pack` and its child."""

import dataclasses
import datetime as dt
import hashlib
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers, golden_files
from aweigh.core.package import FORMAT_VERSION, Hooks, PackageManifest, Provenance, Variant
from aweigh.core.padding import Fill, with_padding
from aweigh.core.protocols import Draft, Prover
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.packing.hooks import hook_files
from aweigh.packing.job import Framework, Job, Packed, PackRequest
from aweigh.packing.recognise import Recognised
from aweigh.runtimes.hooks_process import load_hook

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
) -> Draft:
    """Let the framework pack the model and wrap the outcome as a draft."""
    job = Job(
        model=model,
        recognised=recognised,
        source=source,
        sample=request.sample,
        labels=request.labels,
        trust=request.trust or source is None,
        prove=_padded_prover(request.prove, request.padding) if request.padding else request.prove,
        progress=request.progress,
        work=work,
        before=load_hook(request.pre, "pre") if request.pre else None,
    )
    if request.pre and request.sample is None:
        raise InvalidInput("--pre needs a sample: its rows show what the hook is given", hint="give --sample")
    if request.padding and (request.pre or request.post):
        raise InvalidInput(
            "padding and hooks do not go together: hooks would see what was filled up", hint="leave out --pad, or --pre and --post"
        )
    packed = framework.pack(job)
    if request.padding:
        packed = dataclasses.replace(packed, signature=with_padding(packed.signature, request.padding))
    around = _with_hooks(packed, request, job.before)
    request.progress("writing the package")
    cases, golden = golden_files(around.signature, around.golden)
    hooks = {name: file for text in (request.pre, request.post) if text for name, file in hook_files(text).items()}
    manifest = PackageManifest(
        format_version=FORMAT_VERSION,
        signature=around.signature,
        variants=packed.variants,
        golden=cases,
        provenance=_provenance(packed, request, source, recognised),
        hooks=around.hooks,
        contains_pickle=packed.contains_pickle,
        licence=request.licence,
        description=request.description,
        metrics=packed.metrics,
    )
    return Draft(manifest=manifest, files={**packed.files, **golden, **hooks})


def _padded_prover(prove: Prover, fills: Mapping[str, Fill]) -> Prover:
    """The prover, told of the padding: its evidence then says whether the variant stands it."""

    def padded(
        variant: Variant,
        signature: Signature,
        golden: Sequence[GoldenAnswers],
        path: Callable[[str], Path],
        *,
        strength: Strength,
        data: str,
    ) -> Evidence:
        return prove(variant, with_padding(signature, fills), golden, path, strength=strength, data=data)

    return padded


def _with_hooks(packed: Packed, request: PackRequest, before: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None) -> _Around:
    if not request.pre and not request.post:
        return _Around(signature=packed.signature, golden=packed.golden, hooks=Hooks())
    after = load_hook(request.post, "post") if request.post else None

    def through(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inner = before(rows) if before else dict(rows)
        outputs = {spec.name: out for spec, out in zip(packed.signature.outputs, packed.ask(inner), strict=True)}
        return after(outputs) if after else outputs

    rows = {name: tensor[:_GOLDEN_ROWS] for name, tensor in packed.request_sample.items()}
    answers = through(rows)
    batched = packed.signature.batched
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
    return Provenance(
        framework=packed.framework,
        source_file=source.name if source else "",
        source_digest=_digest(source) if source else "",
        source_class=packed.source_class,
        versions={"python": platform.python_version(), **packed.versions},
        git_commit=_git_commit(source.parent if source else Path.cwd()),
        command=request.command,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count() or 1} cores",
        packed_at=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        trusted=request.trust and recognised is not None and recognised.format in {"pickle", "joblib", "skops"},
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
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
