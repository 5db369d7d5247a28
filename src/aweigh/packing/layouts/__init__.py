"""Folders and archives of other tools: which model file is inside, and what they say of it. `look_inside` is called by `pack` first of all.

One file per layout. They read small texts and names, bounded, run nothing, and follow no link and no path out of the folder.
"""

import dataclasses
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from aweigh.core.errors import UnknownFormat
from aweigh.packing.layouts.agree import agreed
from aweigh.packing.layouts.bentoml import open_bentoml
from aweigh.packing.layouts.inside import Inside, Stated, the_known_file
from aweigh.packing.layouts.kserve import open_kserve
from aweigh.packing.layouts.mlflow import open_mlflow
from aweigh.packing.layouts.model_zoo import open_model_zoo
from aweigh.packing.layouts.tensorflow_serving import open_tensorflow_serving
from aweigh.packing.layouts.torchserve import open_torchserve
from aweigh.packing.layouts.triton import open_triton

__all__ = ["Inside", "Stated", "agreed", "look_inside"]

_OWN: Final = ("saved_model.pb", "config.json")
"""What marks a folder that is a model itself, and no layout around one."""
_NESTED: Final = 3


def look_inside(path: Path, work: Path, *, trust: bool = False) -> Inside | None:
    """The model that `path` holds for another tool; None where it is a model file or folder itself.

    `work` is a folder for what has to be taken out of an archive. Raises UnknownFormat that names what there is, InvalidFile, NotTrusted, …
    """
    found: Inside | None = None
    for _ in range(_NESTED):
        at = found.file if found else path
        inner = _look(at, work, trust=trust)
        if inner is None:
            return found
        if found is not None:
            told = inner.stated if inner.stated.place else found.stated
            inner = dataclasses.replace(inner, layout=f"{found.layout}; {inner.layout}", stated=told, sample=inner.sample or found.sample)
        found = inner
    raise UnknownFormat(f"{path}: layouts in layouts, more than {_NESTED} deep", hint="give the model file itself")


def _look(path: Path, work: Path, *, trust: bool) -> Inside | None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None  # recognising says what is wrong with it
    if stat.S_ISREG(mode):
        with path.open("rb") as stream:
            return open_torchserve(path, work, trust=trust) if stream.read(2) == b"PK" else None
    if not stat.S_ISDIR(mode):
        return None
    openers: tuple[Callable[[Path], Inside | None], ...] = (
        partial(open_mlflow, work=work),
        open_bentoml,
        partial(open_kserve, work=work, trust=trust),
        open_model_zoo,
        open_tensorflow_serving,
        open_triton,
    )
    for opener in () if (path / _OWN[0]).is_file() else openers:
        found = opener(path)
        if found is not None:
            return found
    if any((path / mark).is_file() for mark in _OWN):
        return None
    file = the_known_file(path, layout="a folder")
    return Inside(layout=f"folder: {file.relative_to(path).as_posix()}", file=file)
