"""Triton Inference Server: `config.pbtxt` and numbered folders, the newest of which counts; a repository of several models is asked which."""

import re
from pathlib import Path
from typing import Any, Final

from aweigh.core.errors import InvalidFile, UnknownFormat, Unsupported
from aweigh.core.protobuf_text import Fields, read_protobuf_text
from aweigh.packing.layouts.inside import Inside, Stated, StatedTensor, has, names, newest, read_text, within

_CONFIG: Final = "config.pbtxt"
_FILES: Final = {
    "onnxruntime": ("model.onnx",),
    "pytorch": ("model.pt", "model.pt2"),
    "tensorflow": ("model.savedmodel",),
    "openvino": ("model.xml",),
    "fil": ("xgboost.json", "xgboost.ubj", "model.txt", "xgboost.model", "checkpoint.tl"),
}
_OWN_NAMES: Final = frozenset({"onnxruntime", "tensorflow", "openvino"})
"""Backends whose configuration uses the model's own names; others have INPUT__0 and such."""
_PLATFORMS: Final = {
    "onnxruntime_onnx": "onnxruntime", "pytorch_libtorch": "pytorch", "tensorflow_savedmodel": "tensorflow", "tensorflow_graphdef": "graphdef",
    "tensorrt_plan": "tensorrt", "ensemble": "ensemble", "python": "python",
}  # fmt: skip
_REFUSED: Final = {
    "ensemble": "an ensemble, which has no model file: pack its steps and join them with a pipeline",
    "python": "a Python backend's model: its code speaks to Triton alone",
    "tensorrt": "a TensorRT plan, which runs on one kind of card: give the model that it was built from",
    "graphdef": "a TensorFlow GraphDef: save it as a SavedModel",
    "dali": "a DALI pipeline: pack the model behind it",
}
_TYPE: Final = re.compile(r"TYPE_([A-Z0-9]+)")


def open_triton(root: Path) -> Inside | None:
    """The newest version of a Triton model, or of the only model of a repository; None where the folder is neither."""
    if has(root, _CONFIG):
        return _model(root)
    if _guessed(root) is not None:
        return _model(root)
    models = [name for name in names(root) if (root / name).is_dir() and not (root / name).is_symlink() and has(root / name, _CONFIG)]
    if not models:
        return None
    if len(models) > 1:
        raise UnknownFormat(
            f"{root}: a Triton repository of {len(models)} models: {', '.join(models[:8])}", hint=f"give one of them: {root / models[0]}"
        )
    return _model(root / models[0])


def _model(root: Path) -> Inside:
    config = read_protobuf_text(read_text(root, _CONFIG), place=str(root / _CONFIG)) if has(root, _CONFIG) else {}
    backend = _one(config, "backend") or _PLATFORMS.get(_one(config, "platform"), _one(config, "platform")) or _guessed(root) or ""
    if backend in _REFUSED:
        raise Unsupported(f"{root}: {_REFUSED[backend]}", hint="see docs/guides/sources.md for what is taken of a Triton repository")
    version = newest(root)
    if version is None:
        raise InvalidFile(f"{root}: a Triton model without a numbered version folder", hint="copy the whole folder")
    named = _one(config, "default_model_filename")
    candidates = (named,) if named else _FILES.get(backend, tuple(name for each in _FILES.values() for name in each))
    found = next((name for name in candidates if (version / name).exists()), None)
    if found is None:
        raise UnknownFormat(
            f"{version}: no {' or '.join(candidates)}, which Triton's backend {backend or 'of no name'!r} would load",
            hint="copy the whole folder, or give the model file itself",
        )
    return Inside(
        layout=f"Triton model, version {version.name}: {found}",
        file=within(version, found, said_by=str(root / _CONFIG)),
        stated=_stated(config, own_names=backend in _OWN_NAMES),
    )


def _guessed(root: Path) -> str | None:
    """The backend by the file in the newest version; SavedModels are left to TensorFlow Serving's layout, which has them too."""
    version = newest(root)
    if version is None:
        return None
    return next((backend for backend, files in _FILES.items() for name in files if (version / name).exists()), None)


def _one(config: Fields, name: str) -> str:
    value = config.get(name, [""])[-1]
    return value if isinstance(value, str) else ""


def _stated(config: Fields, *, own_names: bool) -> Stated:
    rows = _one(config, "max_batch_size")
    return Stated(
        place=_CONFIG,
        inputs=_tensors(config, "input", own_names=own_names),
        outputs=_tensors(config, "output", own_names=own_names),
        batched=rows.isdigit() and int(rows) > 0,
    )


def _tensors(config: Fields, field: str, *, own_names: bool) -> tuple[StatedTensor, ...]:
    found = []
    for entry in config.get(field, []):
        if not isinstance(entry, dict):
            raise InvalidFile(f"{_CONFIG}: '{field}' is no message", hint="the file is damaged")
        kind = _TYPE.fullmatch(_one(entry, "data_type"))
        datatype = {"STRING": "BYTES"}.get(kind[1], kind[1]) if kind else ""
        dims = _dims(entry) if "reshape" not in entry else None
        found.append(StatedTensor(name=_one(entry, "name") if own_names else "", datatype=datatype if own_names else "", dims=dims))
    return tuple(found)


def _dims(entry: dict[str, list[Any]]) -> tuple[int, ...] | None:
    try:
        return tuple(int(size) for size in entry["dims"]) if "dims" in entry else None
    except (TypeError, ValueError) as error:
        raise InvalidFile(f"{_CONFIG}: dims that are no numbers: {entry['dims']!r:.100}", hint="the file is damaged") from error
