"""ONNX Model Zoo: one .onnx file and folders `test_data_set_N` of inputs and the outputs that it gives, which become golden cases."""

import re
from pathlib import Path
from typing import Final

from aweigh.core.errors import UnknownFormat
from aweigh.packing.layouts.inside import Inside, has, names

_SET: Final = re.compile(r"test_data(?:_set)?_[0-9]{1,6}", re.ASCII)
MAX_SETS: Final = 32


def open_model_zoo(root: Path) -> Inside | None:
    """The model and its test data, or None where the folder has none."""
    found = names(root)
    sets = sorted(
        (name for name in found if _SET.fullmatch(name) and has(root / name, "input_0.pb")), key=lambda name: int(name.rpartition("_")[2])
    )
    sets = [name for name in sets if not (root / name).is_symlink()]
    models = [name for name in found if name.endswith(".onnx") and has(root, name)]
    if not sets or not models:
        return None
    if len(models) > 1:
        raise UnknownFormat(f"{root}: test data beside {len(models)} models: {', '.join(models[:8])}", hint="give one of them")
    return Inside(
        layout=f"ONNX Model Zoo folder, {len(sets)} test data sets: {models[0]}",
        file=root / models[0],
        cases=tuple(root / name for name in sets[:MAX_SETS]),
    )
