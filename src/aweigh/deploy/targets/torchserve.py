"""TorchServe: an archive (.mar) of the program or the weights with their class, a handler that needs torch alone, and config.properties.

Requests run together only where the proof found that answers do not hang on their neighbours. See docs/targets/torchserve.md.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final

import msgspec

from aweigh.core.errors import StoreUnavailable, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Datatype
from aweigh.core.whole import whole
from aweigh.deploy import payloads
from aweigh.deploy.commands import Commands
from aweigh.deploy.model_servers import batches, check_files, put, take_away, uneven, variant_for, version_of
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.properties import properties_text, read_properties
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered

_MANIFEST: Final = "MAR-INF/MANIFEST.json"
_HANDLER: Final = "aweigh_handler.py"
_FACTS: Final = "aweigh_model.json"
_CONFIG: Final = "config.properties"
_CODE: Final = "variants/torch-eager/code"
_WHEN: Final = (1980, 1, 1, 0, 0, 0)
_DTYPES: Final = {
    Datatype.BOOL: "bool", Datatype.UINT8: "uint8", Datatype.INT8: "int8", Datatype.INT16: "int16", Datatype.INT32: "int32", Datatype.INT64: "int64",
    Datatype.FP16: "float16", Datatype.BF16: "bfloat16", Datatype.FP32: "float32", Datatype.FP64: "float64",
}  # fmt: skip
_HINT: Final = "TorchServe runs PyTorch's own forms: pack the module with `--also torch` (or `--also torchscript`), or serve the package itself: `aweigh serve`"


class TorchServeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    workers: int = 0
    """0: as many as the load takes cores."""
    batch_size: int = 8
    batch_delay_ms: int = 0
    """How long a request waits for others to run with, where it may."""
    model_store: str = ""
    """Folder that the server reads, for --apply."""


class TorchServe:
    """An archive and the configuration that loads it."""

    name: ClassVar[str] = "torchserve"
    options: ClassVar[type[msgspec.Struct]] = TorchServeOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        variant, note = variant_for(job, "TorchServe", lambda each: _why_not(job.package.manifest.signature, each), hint=_HINT)
        options = _options(job.options)
        archive = _archive(job, variant)
        config = _config(job, variant, options)
        image = "docker run --rm -p 8080:8080"
        start = f'{image} -v "$PWD":/models:ro pytorch/torchserve:0.12.0-cpu torchserve --foreground --ts-config /models/{_CONFIG}'
        return Rendered(
            files={f"{job.name}.mar": archive, _CONFIG: config},
            does=(f"an archive '{job.name}.mar', version {version_of(job)}.0, with a handler of aweigh's that takes and gives JSON",),
            costs=cost_lines(self.name, job),
            commands=(f"{start} --model-store /models",),
            notes=tuple(
                each
                for each in (note, "TorchServe is no longer maintained by its makers", "TorchServe does not replay the golden set")
                if each
            ),
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        findings = check_files(folder, self.render(job).files)
        try:
            said = read_properties((folder / _CONFIG).read_text(encoding="latin-1"))
            models = json.loads(said.get("models", "{}"))
        except (OSError, ValueError) as error:
            return [*findings, Finding(place=_CONFIG, message=f"cannot be read: {error}")]
        if list(models) != [job.name] or said.get("load_models") != f"{job.name}.mar":
            findings.append(Finding(place=f"{_CONFIG}: models", message=f"names {list(models)} and loads {said.get('load_models')!r}"))
        return [*findings, *_wrong(folder / f"{job.name}.mar")]

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        """Put the archive where the server reads; `config.properties` stays in the folder, since a server has one."""
        return put(folder, [f"{job.name}.mar"], _options(job.options).model_store, option="model_store")

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        take_away(facts)


def _options(said: msgspec.Struct) -> TorchServeOptions:
    options = msgspec.convert(said, TorchServeOptions, from_attributes=True)
    for name, least, most in (("workers", 0, 1024), ("batch_size", 1, 4096), ("batch_delay_ms", 0, 60_000)):
        value = getattr(options, name)
        if not least <= value <= most:
            raise Unsupported(f"{name} is {value}, of {least} to {most}", hint=f"say --set {name}={least}")
    return options


def _why_not(signature: Signature, variant: Variant) -> str:
    if variant.runtime not in {"torch", "torch-eager"}:
        return f"its runtime is '{variant.runtime}', not PyTorch"
    strange = next((spec for spec in (*signature.inputs, *signature.outputs) if spec.datatype not in _DTYPES), None)
    return f"'{strange.name}' is {strange.datatype}, which has no tensor in PyTorch" if strange else ""


def _config(job: DeployJob, variant: Variant, options: TorchServeOptions) -> bytes:
    together = _together(job, variant)
    workers = options.workers or job.capacity.cores(job.demand.requests_per_second)
    model = {
        "defaultVersion": True,
        "marName": f"{job.name}.mar",
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": options.batch_size if together else 1,
        "maxBatchDelay": options.batch_delay_ms if together else 0,
        "responseTimeout": 120,
    }
    values = {
        "inference_address": "http://0.0.0.0:8080",
        "management_address": "http://127.0.0.1:8081",
        "metrics_address": "http://127.0.0.1:8082",
        "install_py_dep_per_model": str(variant.runtime == "torch-eager").lower(),
        "load_models": f"{job.name}.mar",
        "models": json.dumps({job.name: {f"{version_of(job)}.0": model}}),
    }
    return properties_text(values, said=[f"{job.package.reference} {job.package.digest}, variant {variant.name}", "made by aweigh deploy"])


def _together(job: DeployJob, variant: Variant) -> bool:
    signature = job.package.manifest.signature
    return batches(signature, variant) and not uneven(signature)


def _archive(job: DeployJob, variant: Variant) -> Path:
    """The archive, in the cache: the same package gives the same bytes. Raises StoreUnavailable."""
    members = _members(job, variant)
    named = json.dumps([(name, _digest(content)) for name, content in members.items()])
    place = job.cache / "torchserve" / f"{hashlib.sha256(named.encode()).hexdigest()}.mar"
    if place.exists() and not _wrong(place):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole(place, mode=0o644) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, content in members.items():
                entry = zipfile.ZipInfo(name, _WHEN)
                entry.external_attr = 0o100644 << 16
                with archive.open(entry, "w", force_zip64=True) as stream:
                    if isinstance(content, bytes):
                        stream.write(content)
                        continue
                    with content.open("rb") as source:
                        while chunk := source.read(1 << 20):
                            stream.write(chunk)
    except OSError as error:
        raise StoreUnavailable(f"{place.parent} cannot be written: {error.strerror}", hint="check the space left") from error
    return place


def _digest(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _members(job: DeployJob, variant: Variant) -> dict[str, bytes | Path]:
    """What the archive holds, the manifest first."""
    eager = variant.runtime == "torch-eager"
    entry = PurePosixPath(variant.files[0]).name
    model: dict[str, Any] = {"modelName": job.name, "serializedFile": entry, "handler": _HANDLER, "modelVersion": f"{version_of(job)}.0"}
    extra: dict[str, bytes | Path] = {}
    if eager:
        model["requirementsFile"] = "requirements.txt"
        extra = {str(PurePosixPath(each).relative_to(_CODE)): job.package.path(each) for each in variant.files[1:]}
        if clash := next((name for name in extra if name in {_HANDLER, _FACTS, entry, "requirements.txt"}), ""):
            raise Unsupported(
                f"the module's code has a file {clash!r}, which is the archive's own", hint="call it otherwise, and pack again"
            )
        extra["requirements.txt"] = b"safetensors\n"
    manifest = {"createdOn": "01/01/1980 00:00:00", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    return {
        _MANIFEST: _json(manifest),
        _HANDLER: Path(payloads.__file__).with_name("torchserve_handler.py").read_bytes(),
        _FACTS: _json(_facts(job, variant, entry)),
        entry: job.package.path(variant.files[0]),
        **extra,
    }


def _facts(job: DeployJob, variant: Variant, entry: str) -> dict[str, Any]:
    """What the handler goes by."""
    signature = job.package.manifest.signature
    kind = "weights" if variant.runtime == "torch-eager" else "program" if entry.endswith(".pt2") else "torchscript"
    return {
        "file": entry,
        "kind": kind,
        "factory": str(variant.options.get("factory", "")),
        "batches": _together(job, variant),
        "inputs": [{"name": spec.name, "dtype": _DTYPES[spec.datatype], "shape": spec.wire_shape} for spec in signature.inputs],
        "outputs": [spec.name for spec in signature.outputs],
    }


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=True).encode() + b"\n"


def _wrong(place: Path) -> list[Finding]:
    """What TorchServe would stumble over when it unzips the archive."""
    try:
        with zipfile.ZipFile(place) as archive:
            names = archive.namelist()
            model = json.loads(archive.read(_MANIFEST))["model"]
            damaged = archive.testzip()
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        return [Finding(place=place.name, message=f"is no archive of TorchServe: {error}", hint="render again with --force")]
    needed = [model.get("serializedFile"), model.get("handler")]
    findings = [
        Finding(place=f"{place.name}: {_MANIFEST}", message=f"names {each!r}, which it does not hold")
        for each in needed
        if each not in names
    ]
    out = [name for name in names if name.startswith("/") or ".." in PurePosixPath(name).parts]
    findings += [Finding(place=place.name, message=f"holds the path {name[:80]!r}, which leads out") for name in out]
    return [*findings, Finding(place=place.name, message=f"{damaged} is damaged")] if damaged else findings
