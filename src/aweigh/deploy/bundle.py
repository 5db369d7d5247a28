"""The folder that the runner starts from: its code, the runtime's shared library, one variant's files, the golden set, `runner.json`. Called by targets and images.

What the runner cannot do is refused here, by name, and not where it is started. The same package, variant, platform and Python give the same bytes.
"""

import importlib.util
import json
import math
import py_compile
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aweigh
from aweigh.core.errors import Unsupported
from aweigh.core.frames import frame_columns
from aweigh.core.golden import held_to
from aweigh.core.package import GoldenCase, PackageManifest, Variant
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.signature import ColumnKind, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.core.tolerances import tolerance_of
from aweigh.deploy.platforms import Python, WheelTarget
from aweigh.deploy.runner_library import library_of

RUNNER_FORMAT: Final = 1
"""Of `runner.json`; `runner/start.py` refuses another."""
SETTINGS_FILE: Final = "runner.json"
ENTRY: Final = "run.py"
LIMITS: Final[Mapping[str, float]] = {
    "head_bytes": 32 * 1024, "body_bytes": 16 * 1024 * 1024, "buffered_bytes": 64 * 1024 * 1024, "connections": 256, "rows": 65536,
    "elements": 4 * 1024 * 1024, "idle_s": 75.0, "request_s": 30.0, "drain_s": 25.0,
}  # fmt: skip
"""Smaller than the server's where memory is small: the runner makes Python numbers of what it reads."""
_RUNTIMES: Final = ("onnxruntime", "litert")
_OPTIONS: Final = {
    "onnxruntime": ("graph_optimization_level", "intra_op_threads", "arena", "config:", "lowercase:"),
    "litert": ("signature", "quantization:"),
}
_SETS: Final = {Task.DETECTION: "boxes", Task.RETRIEVAL: "orders"}
_WHOLE_SERVER: Final = "take the whole server instead: 'aweigh serve', or 'aweigh image' without --runner"
_RUNNER: Final = "runner"


def check_runner(manifest: PackageManifest, variant: Variant) -> None:
    """Raise Unsupported, naming it, for what the runner cannot do."""
    name = f"variant '{variant.name}'"
    if manifest.parts or variant.runtime == "pipeline":
        raise Unsupported("a pipeline runs in the whole server alone", hint=_WHOLE_SERVER)
    if variant.runtime not in _RUNTIMES:
        able = [each.name for each in manifest.variants if each.runtime in _RUNTIMES]
        hint = f"choose --variant {able[0]}" if able else f"pack the model so that it becomes ONNX or TFLite; or {_WHOLE_SERVER}"
        raise Unsupported(f"{name} runs by {variant.runtime}: the runner starts {' and '.join(_RUNTIMES)} alone", hint=hint)
    if manifest.hooks.pre or manifest.hooks.post:
        raise Unsupported("the package brings hooks, which are Python that needs aweigh around it", hint=_WHOLE_SERVER)
    if variant.step is not None:
        raise Unsupported(f"{name} has a step before the model, '{variant.step.kind}', which is aweigh's own code", hint=_WHOLE_SERVER)
    for option in variant.options:
        if not option.startswith(_OPTIONS[variant.runtime]):
            raise Unsupported(f"{name} has the option '{option}', which the runner does not know", hint=_WHOLE_SERVER)
    signature = manifest.signature
    if signature.task in _SETS:
        raise Unsupported(f"the answers of this model are {_SETS[signature.task]}, which the runner cannot compare", hint=_WHOLE_SERVER)
    for spec in (*signature.inputs, *signature.outputs):
        _check_spec(spec, variant)


def _check_spec(spec: TensorSpec, variant: Variant) -> None:
    if spec.datatype is Datatype.BF16:
        raise Unsupported(f"'{spec.name}' is {spec.datatype.value}, which the runner does not read", hint=_WHOLE_SERVER)
    if spec.datatype is Datatype.BYTES and variant.runtime == "litert":
        raise Unsupported(f"'{spec.name}' holds texts, which the runner does not hand to LiteRT", hint=_WHOLE_SERVER)


def runner_bundle(
    package: PackageHandle, variant: Variant, target: WheelTarget, *, cache: Path, progress: Progress = quiet
) -> dict[str, bytes | Path]:
    """The folder's files by relative path. Raises Unsupported (naming what the runner cannot do), and what fetching the library raises."""
    manifest = package.manifest
    check_runner(manifest, variant)
    library = library_of(variant, target, cache=cache, progress=progress)
    cases = variant.departure.golden if variant.departure else manifest.golden
    files: dict[str, bytes | Path] = {f"model/{file}": package.path(file) for file in variant.files}
    files |= {case.file: package.path(case.file) for case in cases}
    files[library.path] = library.content
    settings = runner_settings(package, variant, cases) | {"library": library.path, "library_version": library.version}
    files[SETTINGS_FILE] = json.dumps(settings, ensure_ascii=False, indent=1, allow_nan=True).encode() + b"\n"
    return dict(sorted((files | runner_code(target.python)).items()))


def runner_settings(package: PackageHandle, variant: Variant, cases: tuple[GoldenCase, ...]) -> dict[str, Any]:
    """What `runner.json` says, in plain values: nothing of it is left to be reckoned at the start."""
    manifest = package.manifest
    held = held_to(manifest, variant, package.path)
    sizes = {file.path: file.size_bytes for file in manifest.files}
    columns, no_rows = _columns(manifest.signature)
    return {
        "format": RUNNER_FORMAT,
        "aweigh_version": aweigh.__version__,
        "name": str(package.reference.name),
        "version": str(package.reference.version or 1),
        "digest": str(package.digest),
        "variant": variant.name,
        "runtime": variant.runtime,
        "model": f"model/{variant.files[0]}",
        "model_bytes": sizes.get(variant.files[0], 0),
        "options": dict(variant.options),
        "missing_text": variant.missing_text,
        "task": manifest.signature.task.value,
        "labels": list(manifest.signature.labels),
        "inputs": [_input(spec, variant) for spec in held.signature.inputs],
        "outputs": [_output(spec) for spec in held.signature.outputs],
        "columns": columns,
        "no_rows": no_rows,
        "golden": [{"name": case.name, "why": case.why, "file": case.file} for case in cases],
        "limits": dict(LIMITS),
        "first": _first(package, held.signature, held.golden[0].inputs if held.golden else {}, no_rows),
    }


def _input(spec: TensorSpec, variant: Variant) -> dict[str, Any]:
    told = {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape)}
    finite = variant.departure is not None and spec.datatype.is_float  # as the engine guards it: its golden set has finite rows alone
    return told | {
        "takes_missing": spec.takes_missing and not finite,
        "takes_infinite": spec.takes_infinite and not finite,
        "refuses_missing_at": list(spec.refuses_missing_at),
        "refuses_infinite_at": list(spec.refuses_infinite_at),
    }


def _output(spec: TensorSpec) -> dict[str, Any]:
    told: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape), "role": spec.role}
    if spec.datatype.is_float:
        bound = tolerance_of(spec)
        told["tolerance"] = {"atol": bound.atol, "rtol": bound.rtol, "scale": bound.scale}
    return told


def _columns(signature: Signature) -> tuple[list[dict[str, Any]], str]:
    """The columns of rows; or none, and why."""
    try:
        columns = frame_columns(signature)
    except Unsupported as error:
        return [], error.message
    if odd := next((column for column in columns if column.kind in {ColumnKind.IMAGE, ColumnKind.SOUND}), None):
        return [], f"column '{odd.name}' holds files"
    told = [
        {
            "name": column.name,
            "kind": column.kind.value,
            "input": column.input,
            "index": column.index,
            "nullable": column.nullable,
            "categories": list(column.categories),
        }
        for column in columns
    ]
    return told, ""


def _first(package: PackageHandle, signature: Signature, inputs: Mapping[str, Tensor], no_rows: str) -> dict[str, Any] | None:
    """A request for the first golden row, which `--once` asks; None where it has no form in JSON."""
    if not inputs or any(spec.datatype is Datatype.FP16 for spec in (*signature.inputs, *signature.outputs)):
        return None
    if not no_rows and signature.batched:
        row = [_cell(inputs[column.input], column.index) for column in frame_columns(signature)]
        return {"path": f"/predict/{package.reference.name}", "body": [row]}
    one = {name: tensor[:1] if signature.batched else tensor for name, tensor in inputs.items()}
    entries = [
        {"name": spec.name, "datatype": spec.datatype.value, "shape": list(one[spec.name].shape), "data": _plain(one[spec.name])}
        for spec in signature.inputs
    ]
    return {"path": f"/v2/models/{package.reference.name}/infer", "body": {"inputs": entries}}


def _plain(tensor: Tensor) -> list[Any]:
    return [item.decode() if isinstance(item, bytes) else item for item in tensor.ravel().tolist()]


def _cell(tensor: Tensor, index: int) -> Any:
    value = _plain(tensor[:1].reshape(-1))[index if tensor.ndim == 2 and tensor.shape[1] > 1 else 0]
    return None if isinstance(value, float) and math.isnan(value) else value


def runner_code(python: Python) -> dict[str, bytes | Path]:
    """The runner's own files, with bytecode where this Python is the one that will start it: without it the start takes three times as long."""
    spec = importlib.util.find_spec("aweigh.runner")
    folder = Path(str(spec.origin)).parent if spec is not None else Path()
    sources = sorted(path for path in folder.glob("*.py") if path.name != ENTRY)
    files: dict[str, bytes | Path] = {f"{_RUNNER}/{path.name}": path.read_bytes() for path in sources}
    files[ENTRY] = (folder / ENTRY).read_bytes()
    if python == sys.version_info[:2] and sys.implementation.cache_tag:
        files |= {f"{_RUNNER}/__pycache__/{path.stem}.{sys.implementation.cache_tag}.pyc": _bytecode(path) for path in sources}
    return files


def _bytecode(path: Path) -> bytes:
    """Not held against its source when it is read: both are of one bundle."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "code.pyc"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(path), str(made), dfile=f"{_RUNNER}/{path.name}", doraise=True, invalidation_mode=mode, optimize=0)
        return made.read_bytes()
