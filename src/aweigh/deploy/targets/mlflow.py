"""MLflow: a model folder with the flavours onnx and pyfunc, the columns of the package as its signature, and rows of the golden set as its example.

Answers by a loader of its own in the folder, since MLflow's own fits outputs of one column alone. See docs/targets/mlflow.md.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.frames import columns_of_outputs, frame_columns
from aweigh.core.golden import GoldenAnswers, read_golden
from aweigh.core.package import Variant
from aweigh.core.signature import Column, ColumnKind, Signature
from aweigh.core.tensors import Datatype
from aweigh.deploy import payloads
from aweigh.deploy.commands import Commands
from aweigh.deploy.model_edges import onnx_edges
from aweigh.deploy.model_servers import Edge, Edges, below, check_files, put, take_away, to_be_put, variant_for, version_of
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered
from aweigh.deploy.yaml_text import read_yaml, yaml_text

_LOADER: Final = "aweigh_mlflow_onnx"
_FACTS: Final = "aweigh_model.json"
_EXAMPLE: Final = "input_example.json"
_ROWS: Final = 5
_LEVELS: Final = {"disabled": 0, "basic": 1, "extended": 2, "all": 99}
_TYPES: Final = {ColumnKind.NUMBER: "double", ColumnKind.INTEGER: "long", ColumnKind.BOOLEAN: "boolean"}
_HINT: Final = "MLflow's folder is made of ONNX: `aweigh show` lists the variants; `aweigh serve` and `aweigh image` run the package itself"


class MlflowOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    python: str = "3.12"
    models: str = ""
    """Folder that models are kept in, for --apply."""


class Mlflow:
    """A model folder."""

    name: ClassVar[str] = "mlflow"
    options: ClassVar[type[msgspec.Struct]] = MlflowOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        variant, note = variant_for(job, "MLflow", _why_not, hint=_HINT)
        python = _python(job.options)
        edges = onnx_edges(job.package, variant)
        signature = job.package.manifest.signature
        columns = _columns(signature)
        cases = read_golden(job.package.manifest, job.package.path)
        example = _example(signature, columns, cases)
        data = variant.files[0].rpartition("/")[2]
        packages = _packages(variant)
        folder = job.name
        files: dict[str, bytes | Path] = {
            f"{folder}/MLmodel": yaml_text(_mlmodel(job, variant, data, columns, edges, cases)),
            f"{folder}/conda.yaml": yaml_text(_conda(python, packages)),
            f"{folder}/python_env.yaml": yaml_text(_python_env(python)),
            f"{folder}/requirements.txt": "".join(f"{each}\n" for each in packages).encode(),
            f"{folder}/{_FACTS}": _json(_facts(signature, variant, edges, columns, cases)),
            f"{folder}/code/{_LOADER}.py": Path(payloads.__file__).with_name("mlflow_onnx.py").read_bytes(),
            **({f"{folder}/{_EXAMPLE}": _json(example)} if example else {}),
            **below(variant, folder, job.package.path),
        }
        return Rendered(
            files=files,
            does=(f"a model folder of MLflow, flavours onnx and pyfunc, {'asked by columns' if columns else 'asked with tensors'}",),
            costs=cost_lines(self.name, job),
            commands=(f"ORT_DISABLE_TELEMETRY=1 mlflow models serve -m {folder} --env-manager local",),
            notes=tuple(each for each in (note, "the folder's loader switches the telemetry of ONNX Runtime off") if each),
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        findings = check_files(folder, self.render(job).files)
        place = f"{job.name}/MLmodel"
        try:
            (said,) = read_yaml((folder / place).read_bytes(), place=place)
        except (OSError, ValueError) as error:
            return [*findings, Finding(place=place, message=f"cannot be read: {error}")]
        except InvalidFile as error:
            return [*findings, Finding(place=place, message=error.message, hint=error.hint)]
        return [*findings, *_wrong(said, place, folder / job.name)]

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        return to_be_put(folder, _names(job), _models(job), job.before)

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        """Put the folder where models are kept, under its version: the one before stays until it is undeployed."""
        return put(folder, _names(job), _models(job), option="models", before=job.before)

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        take_away(facts)


def _names(job: DeployJob) -> dict[str, str]:
    return {job.name: f"{job.name}/{version_of(job)}"}


def _models(job: DeployJob) -> str:
    return msgspec.convert(job.options, MlflowOptions, from_attributes=True).models


def _python(options: msgspec.Struct) -> str:
    python = msgspec.convert(options, MlflowOptions, from_attributes=True).python
    parts = python.split(".")
    if not (2 <= len(parts) <= 3 and all(part.isascii() and part.isdigit() for part in parts) and len(python) <= 9):
        raise Unsupported(f"{python[:40]!r} is no version of Python", hint="say --set python=3.12")
    return python


def _why_not(variant: Variant) -> str:
    if variant.runtime != "onnxruntime" or not variant.files[0].endswith(".onnx"):
        return f"its runtime is '{variant.runtime}', and MLflow's folder is made of ONNX files"
    strange = [name for name in variant.options if name not in {"graph_optimization_level", "intra_op_threads", "arena"}]
    return f"the option '{strange[0]}', which the folder's loader does not know" if strange else ""


def _columns(signature: Signature) -> tuple[Column, ...]:
    """What a data frame holds; none where the model takes other than rows of single values."""
    if not signature.batched:
        return ()
    try:
        return frame_columns(signature)
    except Unsupported:
        return ()


def _packages(variant: Variant) -> list[str]:
    """Exact where the variant was proven with them."""
    known = [each for each in variant.environment if each.partition("==")[0] in {"onnxruntime", "numpy"}]
    return ["mlflow>=2.20", *(known or ["onnxruntime>=1.20", "numpy>=2"]), "onnx>=1.17", "pandas>=2.2"]


def _mlmodel(
    job: DeployJob, variant: Variant, data: str, columns: tuple[Column, ...], edges: Edges, cases: list[GoldenAnswers]
) -> dict[str, Any]:
    manifest = job.package.manifest
    level = _LEVELS[str(variant.options.get("graph_optimization_level", "all"))]
    threads = int(variant.options.get("intra_op_threads", 1))
    known: dict[str, Any] = {"artifact_path": _EXAMPLE, "type": "dataframe", "pandas_orient": "split"}
    tensors = {"artifact_path": _EXAMPLE, "type": "ndarray", "format": "tf-serving"}
    example = _example(manifest.signature, columns, cases)
    return {
        "artifact_path": job.name,
        "flavors": {
            "onnx": {
                "code": "code",
                "data": data,
                "onnx_session_options": {"graph_optimization_level": level, "intra_op_num_threads": threads},
                "onnx_version": "1.17.0",
                "providers": ["CPUExecutionProvider"],
            },
            "python_function": {
                "code": "code",
                "data": data,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": _LOADER,
                "python_version": _python(job.options),
            },
        },
        "metadata": {"aweigh": str(job.package.reference), "digest": job.package.digest, "variant": variant.name},
        "mlflow_version": "2.20.0",
        "model_uuid": job.package.digest.partition(":")[2][:32],
        **({"saved_input_example_info": known if columns else tensors} if example else {}),
        "signature": _schema(manifest.signature, columns, edges, cases),
        "utc_time_created": manifest.provenance.packed_at.replace("T", " ").removesuffix("Z") + ".000000",
    }


def _schema(signature: Signature, columns: tuple[Column, ...], edges: Edges, cases: list[GoldenAnswers]) -> dict[str, Any]:
    if not columns:
        outputs = [_tensor(spec.name, spec.datatype, tuple(spec.wire_shape)) for spec in signature.outputs]
        inputs = [_tensor(edge.name, edge.datatype, edge.shape) for edge in edges.inputs]
        return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None}
    taken = [{"type": _TYPES.get(each.kind, "string"), "name": each.name, "required": not each.nullable} for each in columns]
    given = columns_of_outputs(signature, cases[0].outputs) if cases else {}
    answers = [{**_answer_type(values), "name": name, "required": True} for name, values in given.items()]
    return {"inputs": json.dumps(taken), "outputs": json.dumps(answers) if answers else None, "params": None}


def _tensor(name: str, datatype: Datatype, shape: tuple[int, ...]) -> dict[str, Any]:
    dtype = "str" if datatype is Datatype.BYTES else datatype.dtype.name
    return {"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


def _answer_type(values: list[Any]) -> dict[str, Any]:
    first: Any = values[0] if values else 0.0
    if isinstance(first, list):
        return {"type": "array", "items": _answer_type(first)}
    return {
        "type": "boolean"
        if isinstance(first, bool)
        else "long"
        if isinstance(first, int)
        else "string"
        if isinstance(first, str)
        else "double"
    }


def _example(signature: Signature, columns: tuple[Column, ...], cases: list[GoldenAnswers]) -> dict[str, Any]:
    """Rows of the golden set's first case, in MLflow's forms; none where they cannot be JSON."""
    if not cases:
        return {}
    inputs = cases[0].inputs
    if not columns:
        plain = all(spec.datatype is not Datatype.BYTES for spec in signature.inputs)
        return {"inputs": {name: _finite(tensor[:_ROWS].tolist()) for name, tensor in inputs.items()}} if plain else {}
    values = []
    for column in columns:
        tensor = inputs[column.input][:_ROWS]
        values.append(_finite((tensor if tensor.ndim == 1 else tensor[:, column.index]).tolist()))
    rows = [list(row) for row in zip(*values, strict=True)]
    return {"columns": [column.name for column in columns], "data": rows}


def _finite(values: Any) -> Any:
    if isinstance(values, list):
        return [_finite(each) for each in values]
    if isinstance(values, bytes):
        return values.decode("utf-8", "replace")
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _facts(signature: Signature, variant: Variant, edges: Edges, columns: tuple[Column, ...], cases: list[GoldenAnswers]) -> dict[str, Any]:
    """What the loader in the folder goes by."""
    return {
        "graph_optimization_level": _LEVELS[str(variant.options.get("graph_optimization_level", "all"))],
        "threads": int(variant.options.get("intra_op_threads", 1)),
        "providers": ["CPUExecutionProvider"],
        "missing_text": variant.missing_text,
        "inputs": [{"name": edge.name, "dtype": _dtype(edge)} for edge in edges.inputs],
        "columns": [
            {"name": each.name, "input": each.input, "index": each.index, "width": _width(signature, each.input)} for each in columns
        ],
        "outputs": [
            {
                "name": spec.name,
                "dtype": "object" if spec.datatype is Datatype.BYTES else spec.datatype.dtype.name,
                "rank": len(spec.shape),
                "columns": _answer_columns(signature, at, cases),
            }
            for at, spec in enumerate(signature.outputs)
        ],
    }


def _answer_columns(signature: Signature, at: int, cases: list[GoldenAnswers]) -> list[str]:
    """What one output is called in a frame."""
    spec = signature.outputs[at]
    alone = msgspec.structs.replace(signature, outputs=(spec,))
    return list(columns_of_outputs(alone, [cases[0].outputs[at]])) if cases else [spec.name]


def _dtype(edge: Edge) -> str:
    return "object" if edge.datatype is Datatype.BYTES else edge.datatype.dtype.name


def _width(signature: Signature, name: str) -> int:
    """0 of an input without a second axis."""
    shape = signature.input(name).wire_shape
    return 0 if len(shape) == 1 else max(shape[1], 1)


def _conda(python: str, packages: list[str]) -> dict[str, Any]:
    return {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": packages}],
        "variables": {"ORT_DISABLE_TELEMETRY": "1"},
    }


def _python_env(python: str) -> dict[str, Any]:
    return {"python": python, "build_dependencies": ["pip", "setuptools", "wheel"], "dependencies": ["-r requirements.txt"]}


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _wrong(said: Any, place: str, folder: Path) -> list[Finding]:
    flavours = said.get("flavors") if isinstance(said, dict) else None
    if not isinstance(flavours, dict) or not {"onnx", "python_function"} <= set(flavours):
        return [Finding(place=f"{place}: $.flavors", message="must hold onnx and python_function", hint="render it again with --force")]
    findings = []
    for flavour in ("onnx", "python_function"):
        data = str(flavours[flavour].get("data", ""))
        if not (folder / data).is_file() or ".." in data or data.startswith("/"):
            findings.append(Finding(place=f"{place}: $.flavors.{flavour}.data", message=f"names {data!r}, which is not in the folder"))
    for part in ("inputs", "outputs"):
        text = (said.get("signature") or {}).get(part)
        try:
            json.loads(text or "[]")
        except (TypeError, ValueError) as error:
            findings.append(Finding(place=f"{place}: $.signature.{part}", message=f"is no JSON: {error}"))
    return findings
