"""A folder with a Python class that answers by itself: told by its text, which is parsed and not run. Called by `pack` and its child before recognising."""

import ast
import os
import re
import stat
from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidInput, TooLarge
from aweigh.packing.python_text import module_file, parse_python
from aweigh.packing.recognise import Recognised

FORMAT: Final = "python"
_CLASS: Final = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)", re.ASCII)
_MAX_FILES: Final = 2000
_MAX_BYTES: Final = 16 * 1024**3
_SKIPPED: Final = frozenset({"__pycache__", "node_modules"})


def recognise_class(path: Path, text: str) -> Recognised | None:
    """The format of a folder whose module `text` ("module:Class") has a class with `predict`; None for any other source."""
    if not text or not path.is_dir():
        return None
    found = _CLASS.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"--class {text[:100]!r} is no MODULE:CLASS", hint="for example --class model:Model, of the file model.py in the folder"
        )
    file = module_file(path, found["module"])
    if file is None:
        return None
    for node in parse_python(file).body:
        if isinstance(node, ast.ClassDef) and node.name == found["name"]:
            methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
            return Recognised(format=FORMAT, detail=f"Python class {text}") if "predict" in methods else None
    return None


def class_files(root: Path) -> dict[str, Path]:
    """Every file of the folder by its relative path, hidden ones and caches left out. Raises InvalidInput for links, TooLarge."""
    found: dict[str, Path] = {}
    total = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            place = Path(folder) / name
            if name.startswith(".") or name.endswith(".pyc"):
                continue
            status = place.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(f"{place}: a link or no plain file, which a package does not follow", hint="put the file itself there")
            found[place.relative_to(root).as_posix()] = place
            total += status.st_size
            if len(found) > _MAX_FILES or total > _MAX_BYTES:
                raise TooLarge(f"{root}: more than {_MAX_FILES} files or {_MAX_BYTES} bytes", hint="put the class into a folder of its own")
    return found
