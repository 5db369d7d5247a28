"""Triton Inference Server: a model repository, one folder with `config.pbtxt` and the version's files, for the backend that runs the variant.

Requests run together only where the proof found that answers do not hang on their neighbours. See docs/targets/triton.md.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protobuf_text import Value, Word, protobuf_text, read_protobuf_text
from aweigh.core.signature import Signature
from aweigh.deploy.commands import Commands
from aweigh.deploy.model_edges import onnx_edges
from aweigh.deploy.model_servers import (
    Edge,
    Edges,
    batches,
    below,
    check_files,
    put,
    stated_edges,
    take_away,
    to_be_put,
    uneven,
    variant_for,
    version_of,
)
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered

_CONFIG: Final = "config.pbtxt"
_ENTRIES: Final = {"onnxruntime": "model.onnx", "pytorch": "model.pt", "openvino": "model.xml", "tensorflow": "model.savedmodel"}
_RUNTIMES: Final = {"onnxruntime": "onnxruntime", "torch": "pytorch", "openvino": "openvino", "tensorflow": "tensorflow"}
_LEVELS: Final = {"all": 0, "extended": 1, "basic": -1, "disabled": 2}
"""ONNX Runtime's optimisations, as the backend counts them."""
_ACCELERATORS: Final = {"tensorrt": ("gpu", "tensorrt"), "openvino": ("cpu", "openvino")}
_ON_GPU: Final = frozenset({"cuda", "tensorrt"})
_HINT: Final = (
    "pack it with `--also torchscript`, `--also tensorflow` or `--also openvino` for a form that Triton's own backends run, or serve the package itself: "
    "`aweigh serve` speaks Triton's protocol"
)


class TritonOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    release: str = "25.02"
    """Of NVIDIA's container; later ones have no TensorFlow backend."""
    max_batch_size: int = 64
    queue_delay_us: int = 0
    """How long a request waits for others to run with, where it may."""
    instances: int = 0
    """Of the model; 0: as many as the load takes cores."""
    repository: str = ""
    """Folder that the server reads, for --apply."""


class Triton:
    """A model repository."""

    name: ClassVar[str] = "triton"
    options: ClassVar[type[msgspec.Struct]] = TritonOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        variant, note = variant_for(job, "Triton", partial(_why_not, job.package.manifest.signature), hint=_HINT)
        options = msgspec.convert(job.options, TritonOptions, from_attributes=True)
        release = _release(options)
        backend = _RUNTIMES[variant.runtime]
        files: dict[str, bytes | Path] = {f"{job.name}/{_CONFIG}": _config(job, variant, options)}
        files |= _model_files(job, variant, backend)
        together = batches(job.package.manifest.signature, variant)
        why = "it was proven that answers do not hang on what runs beside them" if together else "its proof does not say that they may"
        mount = f'docker run --rm -p 8000-8002:8000-8002 -v "$PWD":/models:ro nvcr.io/nvidia/tritonserver:{release}-py3'
        return Rendered(
            files=files,
            does=(
                f"a model repository: '{job.name}', version {version_of(job)}, run by Triton's backend '{backend}'",
                f"requests {'run together' if together else 'are run one by one'}: {why}",
            ),
            costs=cost_lines(self.name, job),
            commands=(f"{mount} tritonserver --model-repository=/models --disable-auto-complete-config",),
            notes=tuple(
                each
                for each in (
                    note,
                    "--disable-auto-complete-config keeps Triton from batching what is not stated here",
                    "Triton does not replay the golden set: `aweigh bench` and `aweigh diff` against its address tell whether it answers alike",
                )
                if each
            ),
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        findings = check_files(folder, self.render(job).files)
        place = f"{job.name}/{_CONFIG}"
        try:
            config = read_protobuf_text((folder / place).read_text(encoding="utf-8"), place=place)
        except (OSError, UnicodeDecodeError) as error:
            return [*findings, Finding(place=place, message=f"cannot be read: {error}")]
        except InvalidFile as error:
            return [*findings, Finding(place=place, message=error.message, hint=error.hint)]
        return [*findings, *_wrong(config, place, folder / job.name)]

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        return to_be_put(folder, _names(job), _repository(job), job.before)

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        """Put the version's folder where the server reads, then its configuration."""
        return put(folder, _names(job), _repository(job), option="repository", before=job.before)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        take_away(facts)


def _names(job: DeployJob) -> list[str]:
    return [f"{job.name}/{version_of(job)}", f"{job.name}/{_CONFIG}"]


def _repository(job: DeployJob) -> str:
    return msgspec.convert(job.options, TritonOptions, from_attributes=True).repository


def _release(options: TritonOptions) -> str:
    year, dot, month = options.release.partition(".")
    if not (dot and year.isdigit() and month.isdigit() and options.release.isascii() and len(options.release) <= 5):
        raise Unsupported(f"{options.release[:40]!r} is no release of Triton's container", hint="say --set release=25.02")
    for name, least, most in (("max_batch_size", 1, 2**16), ("queue_delay_us", 0, 10**7), ("instances", 0, 1024)):
        value = getattr(options, name)
        if not least <= value <= most:
            raise Unsupported(f"{name} is {value}, of {least} to {most}", hint=f"say --set {name}={least}")
    return options.release


def _why_not(signature: Signature, variant: Variant) -> str:
    if variant.runtime not in _RUNTIMES:
        return f"Triton has no backend for the runtime '{variant.runtime}'"
    if variant.runtime == "torch":
        return _why_not_torch(signature, variant)
    if variant.runtime == "tensorflow" and variant.options.get("trusted_operations"):
        return "operations that a person trusted, which Triton would run unasked"
    strange = [name for name in variant.options if variant.runtime == "openvino" or not _known_option(variant, name)]
    return f"the option '{strange[0]}', which has no form in Triton's configuration" if strange else ""


def _why_not_torch(signature: Signature, variant: Variant) -> str:
    if not variant.files[0].endswith(".pt"):
        return "an exported program: Triton's backend takes TorchScript"
    names = [spec.name for spec in signature.outputs]
    listed = names == ["output"] or names == [f"output_{at}" for at in range(len(names))]
    return "" if listed else f"it gives a dict ({', '.join(names)}), which has no order that Triton's backend could go by"


def _known_option(variant: Variant, name: str) -> bool:
    if name == "providers":
        return str(variant.options[name]) in {*_ON_GPU, *_ACCELERATORS, "cpu"}
    if name == "signature":
        return variant.options[name] == "serving_default"
    return name in {"graph_optimization_level", "intra_op_threads", "arena"}


def _config(job: DeployJob, variant: Variant, options: TritonOptions) -> bytes:
    signature = job.package.manifest.session_signature
    edges = _edges(job, variant, signature)
    most = options.max_batch_size if edges.batched else 0
    provider = str(variant.options.get("providers", ""))
    count = options.instances or job.capacity.cores(job.demand.requests_per_second)
    config: dict[str, Value] = {
        "name": job.name,
        "backend": _RUNTIMES[variant.runtime],
        "max_batch_size": most,
        "input": [_tensor(edge, batched=bool(most)) for edge in edges.inputs],
        "output": [_tensor(edge, batched=bool(most)) for edge in edges.outputs],
        "instance_group": [{"count": count, "kind": Word("KIND_GPU" if provider in _ON_GPU else "KIND_CPU")}],
        "version_policy": {"latest": {"num_versions": 1}},
    }
    if variant.runtime == "onnxruntime":
        config |= _onnx_options(variant, provider)
        if (entry := variant.files[0].rpartition("/")[2]) != _ENTRIES["onnxruntime"]:
            config["default_model_filename"] = entry
    if most and batches(signature, variant) and not uneven(signature):
        config["dynamic_batching"] = {"max_queue_delay_microseconds": options.queue_delay_us}
    return protobuf_text(config, said=[f"{job.package.reference} {job.package.digest}, variant {variant.name}", "made by aweigh deploy"])


def _edges(job: DeployJob, variant: Variant, signature: Signature) -> Edges:
    if variant.runtime == "onnxruntime":
        return onnx_edges(job.package, variant)
    stated = stated_edges(signature)
    if variant.runtime != "torch":
        return stated
    return Edges(inputs=_numbered(stated.inputs, "INPUT"), outputs=_numbered(stated.outputs, "OUTPUT"), batched=stated.batched)


def _numbered(edges: tuple[Edge, ...], word: str) -> tuple[Edge, ...]:
    """PyTorch's backend goes by position, since TorchScript has no names for what it gives."""
    return tuple(Edge(name=f"{word}__{at}", datatype=edge.datatype, shape=edge.shape) for at, edge in enumerate(edges))


def _tensor(edge: Edge, *, batched: bool) -> dict[str, Value]:
    dims = list(edge.shape[1:] if batched else edge.shape)
    said: dict[str, Value] = {"name": edge.name, "data_type": Word(f"TYPE_{'STRING' if edge.datatype == 'BYTES' else edge.datatype}")}
    return said | ({"dims": dims} if dims else {"dims": [1], "reshape": {"shape": []}})


def _onnx_options(variant: Variant, provider: str) -> dict[str, Value]:
    level = _LEVELS[str(variant.options.get("graph_optimization_level", "all"))]
    optimization: dict[str, Value] = {"graph": {"level": level}} if level else {}
    if provider in _ACCELERATORS:
        where, name = _ACCELERATORS[provider]
        optimization["execution_accelerators"] = {f"{where}_execution_accelerator": [{"name": name}]}
    threads = str(variant.options.get("intra_op_threads", 1))
    found: dict[str, Value] = {"parameters": [{"key": "intra_op_thread_count", "value": {"string_value": threads}}]}
    return found | ({"optimization": optimization} if optimization else {})


def _model_files(job: DeployJob, variant: Variant, backend: str) -> dict[str, Path]:
    folder = f"{job.name}/{version_of(job)}"
    if backend == "tensorflow":
        return below(variant, f"{folder}/{_ENTRIES[backend]}", job.package.path)
    files = below(variant, folder, job.package.path)
    entry = f"{folder}/{variant.files[0].rpartition('/')[2]}"
    if backend == "onnxruntime" or entry.endswith(_ENTRIES[backend]):
        return files
    weights = entry.removesuffix(".xml") + ".bin"
    renamed = {entry: f"{folder}/{_ENTRIES[backend]}", weights: f"{folder}/model.bin"}
    return {renamed.get(name, name): path for name, path in files.items()}


def _wrong(config: Mapping[str, list[object]], place: str, folder: Path) -> list[Finding]:
    findings = []
    if config.get("name") != [folder.name]:
        findings.append(
            Finding(place=f"{place}: name", message=f"is {config.get('name')}, and the folder is '{folder.name}': Triton refuses that")
        )
    for field in ("input", "output"):
        tensors = config.get(field, [])
        names = [each.get("name", [""])[0] for each in tensors if isinstance(each, dict)]
        if not names or len(set(names)) != len(names) or "" in names:
            findings.append(Finding(place=f"{place}: {field}", message=f"names {names}: each must be there, once"))
        findings += [
            Finding(place=f"{place}: {field}", message=f"dims {each['dims']} of {each.get('name')}: sizes are -1 or 1 and more")
            for each in tensors
            if isinstance(each, dict) and any(not _is_size(size) for size in each.get("dims", []))
        ]
    most = config.get("max_batch_size", ["0"])[-1]
    if config.get("dynamic_batching") and most == "0":
        findings.append(Finding(place=f"{place}: dynamic_batching", message="needs a max_batch_size of 1 or more"))
    if not any(each.is_dir() and each.name.isdigit() and each.name[0] != "0" for each in folder.iterdir()):
        findings.append(Finding(place=folder.name, message="has no numbered folder: Triton loads no version"))
    return findings


def _is_size(size: object) -> bool:
    return size == "-1" or (isinstance(size, str) and size.isdigit() and int(size) > 0)
