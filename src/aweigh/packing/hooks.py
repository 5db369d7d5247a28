"""Pre- and post-processing that rides along: checks `module:function` and collects the files it needs. Called by `pack`.

The contract: `pre(tensors) -> tensors` turns request tensors into the model's, `post(tensors) -> tensors` turns the model's outputs into the
answer; both take and give a dict of name to numpy array. The hook's module, or the package folder that holds it, is copied into the package.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from aweigh.core.errors import AweighError, InvalidInput, TooLarge
from aweigh.core.tensors import Tensor

HOOKS_FOLDER: Final = "hooks"
MAX_FILES: Final = 200
MAX_BYTES: Final = 16 * 1024 * 1024
_SKIPPED: Final = frozenset({"__pycache__", ".git", ".venv", "node_modules"})
Hook = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def load_hook(text: str, what: str) -> Hook:
    """The function that `module:function` names, checked at each call to give a dict of arrays. Raises InvalidInput."""
    module, colon, name = text.partition(":")
    if not colon or not module or not name.isidentifier():
        raise InvalidInput(f"--{what} {text!r} is not of the form module:function", hint=f"for example --{what} features:clean")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except AweighError:
        raise
    except Exception as error:  # a person's module may raise anything when imported
        raise InvalidInput(
            f"--{what}: module '{module}' cannot be imported: {type(error).__name__}: {error}", hint="run from the folder that holds it"
        ) from error
    if not callable(function):
        raise InvalidInput(f"--{what}: module '{module}' has no function '{name}'", hint="check the name")
    return lambda tensors: _checked(function, tensors, text)


def _checked(function: Callable[..., object], tensors: Mapping[str, Tensor], text: str) -> dict[str, Tensor]:
    try:
        given = function(dict(tensors))
    except AweighError:
        raise
    except Exception as error:  # as above
        raise InvalidInput(f"hook {text} failed: {type(error).__name__}: {error}", hint="it is given a dict of numpy arrays") from error
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f"hook {text} returned {type(given).__name__}", hint="return a dict of name to numpy array")
    return {name: np.asarray(array) for name, array in given.items()}


def hook_files(text: str) -> dict[str, Path]:
    """The files of a hook by package path: its module, or all Python and small data files of the package folder that holds it."""
    module = text.partition(":")[0]
    top = module.split(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise InvalidInput(f"module '{top}' has no source file", hint="a hook must be a .py file or a package folder")
    origin = Path(spec.origin)
    if "site-packages" in origin.parts or top in sys.stdlib_module_names:
        raise InvalidInput(f"'{module}' is an installed library, not your own module", hint="wrap the call in a module of your own")
    if spec.submodule_search_locations is None:
        return _bounded({f"{HOOKS_FOLDER}/{origin.name}": origin})
    root = origin.parent
    found = {f"{HOOKS_FOLDER}/{top}/{file.relative_to(root).as_posix()}": file for file in sorted(root.rglob("*")) if _taken(file, root)}
    return _bounded(found)


def _taken(file: Path, root: Path) -> bool:
    parts = file.relative_to(root).parts
    return not (_SKIPPED & set(parts)) and not any(part.startswith(".") for part in parts) and (file.is_symlink() or file.is_file())


def _bounded(files: dict[str, Path]) -> dict[str, Path]:
    total = 0
    for name, file in files.items():
        if file.is_symlink() or not file.is_file() or file.stat().st_nlink > 1:
            raise InvalidInput(f"{name} is a link, which a package does not follow", hint="put the file itself beside the hook")
        total += file.stat().st_size
    if len(files) > MAX_FILES or total > MAX_BYTES:
        raise TooLarge(
            f"the hook's folder holds {len(files)} files, {total} bytes; {MAX_FILES} files, {MAX_BYTES} bytes are taken at most",
            hint="put the hook into a small folder of its own",
        )
    return files
