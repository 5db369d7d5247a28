"""MLflow: a folder with `MLmodel`, whose flavours say where the model lies; its signature names the columns, its input example is a sample."""

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.core.errors import FileMissing, InvalidFile, UnknownFormat
from aweigh.packing.layouts.inside import Inside, Stated, StatedTensor, has, read_text, within
from aweigh.packing.layouts.yaml_text import read_yaml

_MARK: Final = "MLmodel"
_FLAVOURS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "onnx": (("data",), ("model.onnx",)),
    "sklearn": (("pickled_model", "model_path"), ("model.pkl", "model.skops")),
    "xgboost": (("data",), ("model.xgb", "model.ubj", "model.json")),
    "lightgbm": (("data",), ("model.lgb", "model.txt")),
    "catboost": (("data",), ("model.cb", "model.cbm")),
    "keras": (("data",), ("data/model.keras", "data/model.h5")),
    "tensorflow": (("saved_model_dir",), ("data/model.keras", "tf2model", "data/model")),
    "pytorch": ((), ("data/model.pt2", "data/model.pth")),
    "transformers": (("model_binary",), ("model",)),
}
"""Flavour -> the keys that may name the model's file, and where it lies otherwise. The first that a folder has counts."""
_DATATYPES: Final = {
    "boolean": "BOOL", "bool": "BOOL", "integer": "INT32", "int32": "INT32", "long": "INT64", "int64": "INT64",
    "float": "FP32", "float32": "FP32", "double": "FP64", "float64": "FP64", "string": "BYTES", "str": "BYTES", "object": "BYTES",
}  # fmt: skip


def open_mlflow(root: Path, work: Path) -> Inside | None:
    """The model of an MLflow folder, or None where it is none. Raises UnknownFormat that names the flavours."""
    if not has(root, _MARK):
        return None
    said = read_yaml(read_text(root, _MARK), place=str(root / _MARK))
    flavours = said.get("flavors")
    if not isinstance(flavours, dict) or not flavours:
        raise InvalidFile(f"{root / _MARK}: it states no flavors", hint="it is no MLflow model, or damaged")
    flavour = next((name for name in _FLAVOURS if name in flavours), "")
    if not flavour:
        raise UnknownFormat(
            f"{root}: an MLflow model of the flavour {', '.join(sorted(map(str, flavours)))[:200]}, which this version of aweigh does not take",
            hint=f"log it as one of {', '.join(_FLAVOURS)}",
        )
    file = _file(root, flavour, flavours[flavour])
    stated = _stated(root, said.get("signature"))
    return Inside(
        layout=f"MLflow model, flavour {flavour}: {file.relative_to(root).as_posix()}",
        file=file,
        stated=stated,
        sample=_sample(root, work, said.get("saved_input_example_info"), stated),
    )


def _file(root: Path, flavour: str, said: object) -> Path:
    keys, usual = _FLAVOURS[flavour]
    given = said if isinstance(said, dict) else {}
    named = next((given[key] for key in keys if isinstance(given.get(key), str)), "")
    if named:
        return within(root, named, said_by=f"{root / _MARK}")
    found = next((name for name in usual if (root / name).exists()), None)
    if found is None:
        raise FileMissing(f"{root}: an MLflow model of flavour {flavour} without {' or '.join(usual)}", hint="copy the whole folder")
    return within(root, found, said_by=str(root))


def _stated(root: Path, signature: object) -> Stated:
    """Column names or tensors of the signature's inputs; its outputs are rarely those of the model itself, and are left out."""
    text = signature.get("inputs") if isinstance(signature, dict) else None
    if not isinstance(text, str):
        return Stated()
    try:
        entries = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidFile(f"{root / _MARK}: the signature's inputs are no JSON: {error}", hint="the folder is damaged") from error
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    if any(entry.get("type") == "tensor" for entry in entries):
        return Stated(place=_MARK, inputs=tuple(_tensor(entry) for entry in entries))
    return Stated(place=_MARK, columns=tuple(str(entry["name"]) for entry in entries if "name" in entry))


def _tensor(entry: dict[str, Any]) -> StatedTensor:
    spec = entry.get("tensor-spec")
    spec = spec if isinstance(spec, dict) else {}
    shape = spec.get("shape")
    whole = isinstance(shape, list) and all(isinstance(size, int) for size in shape)
    return StatedTensor(name=str(entry.get("name", "")), dims=tuple(shape) if whole and shape is not None else None)


def _sample(root: Path, work: Path, info: object, stated: Stated) -> Path | None:
    """The input example, written down as a sample; None where there is none of a kind that is known."""
    name = info.get("artifact_path") if isinstance(info, dict) else None
    if not isinstance(name, str) or not isinstance(info, dict) or not name.endswith(".json"):
        return None
    try:
        data = msgspec.json.decode(read_text(root, name))
    except (msgspec.DecodeError, RecursionError, FileMissing) as error:
        raise InvalidFile(f"{root / name}: the input example cannot be read: {error}", hint="give --sample") from error
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("data"), list):
        return _rows(work, data.get("columns"), data["data"], stated)
    return _arrays(work, data["inputs"]) if "inputs" in data else None


def _rows(work: Path, columns: object, rows: list[Any], stated: Stated) -> Path | None:
    """Rows in pandas' split form."""
    if not rows or not all(isinstance(row, list) for row in rows):
        return None
    named = [str(name) for name in columns] if isinstance(columns, list) else list(stated.columns)
    if not named or all(name.isdigit() for name in named):
        return _arrays(work, rows)
    place = work / "input_example.jsonl"
    place.write_bytes(b"\n".join(msgspec.json.encode(dict(zip(named, row, strict=False))) for row in rows))
    return place


def _arrays(work: Path, data: object) -> Path | None:
    named = data if isinstance(data, dict) else {"": data}
    try:
        arrays = {str(name): np.asarray(value) for name, value in named.items()}
    except ValueError:
        return None
    if not arrays or any(array.dtype.kind not in "bif" or array.ndim == 0 for array in arrays.values()):
        return None
    place = work / "input_example.npz"
    np.savez(place, allow_pickle=False, **{name or "data": array for name, array in arrays.items()})
    return place
