"""Tells files of JAX parameters that come with the person's own function or module (`--class module:factory`). Called by `choose` before recognising.

Which library the factory is of shows in what its module imports: that text is parsed and not run. Runs and imports nothing.
"""

import ast
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Final

from aweigh.core.errors import UnknownFormat
from aweigh.packing.jax_bytes import is_flax
from aweigh.packing.python_text import module_file, parse_python
from aweigh.packing.recognise import Recognised

FORMAT: Final = "jax-parameters"
_LIBRARIES: Final = frozenset({"jax", "flax"})
_HEAD: Final = 4096
_FORMS: Final = {"safetensors": "safetensors file", "npz": "numpy archive", "msgpack": "Flax parameters"}


def recognise_parameters(path: Path, factory: str) -> Recognised | None:
    """The format of a file of arrays whose factory's module imports JAX or Flax; None for any other source, a safetensors file of PyTorch's among them.

    Raises UnknownFormat where a factory is named that could only be JAX's, and its module is not found or imports something else.
    """
    form = form_of(path) if factory and path.is_file() else ""
    if not form:
        return None
    file = _module_file(factory.partition(":")[0])
    imported = _imports(file) if file is not None else frozenset()
    if imported & _LIBRARIES:
        return Recognised(format=FORMAT, detail=f"JAX parameters ({_FORMS[form]})")
    if form == "safetensors":
        return None  # PyTorch's, as far as anybody can tell
    what = f"{file} imports neither" if file is not None else f"the module of --class {factory[:100]} is not found, which would import"
    raise UnknownFormat(
        f"{path}: recognised as {_FORMS[form]}, which --class can go with if it is JAX's: {what} jax nor flax",
        hint="run from the folder that holds the module of --class; a file of rows goes with --sample",
        recognised=_FORMS[form],
    )


def form_of(path: Path) -> str:
    """safetensors, npz or msgpack by content, "" for anything else."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[:4] == b"PK\x03\x04":
        return "npz" if _is_npz(path) else ""
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return "safetensors"
    return "msgpack" if is_flax(head) else ""


def _is_npz(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _module_file(name: str) -> Path | None:
    """The source of a module where a child would find it: in the working folder first, then where Python looks."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    places = (str(Path.cwd()), *(place for place in sys.path if place))
    return next((file for place in places if (file := module_file(Path(place), name))), None)


def _imports(file: Path) -> frozenset[str]:
    """The top-level names of what a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(parse_python(file)):
        if isinstance(node, ast.Import):
            found.update(each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found)
