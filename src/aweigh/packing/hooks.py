"""Pre- and post-processing that rides along: collects the files that `module:function` needs. Called by `assemble`.

The contract: `pre(tensors) -> tensors` turns request tensors into the model's, `post(tensors) -> tensors` turns the model's outputs into the
answer; both take and give a dict of name to numpy array. The hook's module, or the package folder that holds it, is copied into the
package; `runtimes/hooks.py` calls it there.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Final

from aweigh.core.errors import InvalidInput, TooLarge

HOOKS_FOLDER: Final = "hooks"
MAX_FILES: Final = 200
MAX_BYTES: Final = 16 * 1024 * 1024
_SKIPPED: Final = frozenset({"__pycache__", ".git", ".venv", "node_modules"})


def hook_files(text: str) -> dict[str, Path]:
    """The files of a hook by package path: its module, or all Python and small data files of the package folder that holds it."""
    return module_files(text.partition(":")[0], HOOKS_FOLDER)


def module_files(module: str, folder: str) -> dict[str, Path]:
    """The files of a module of one's own by their path under `folder`. Raises InvalidInput for an installed library, TooLarge."""
    top = module.split(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise InvalidInput(f"module '{top}' has no source file", hint="it must be a .py file or a package folder")
    origin = Path(spec.origin)
    if "site-packages" in origin.parts or top in sys.stdlib_module_names:
        raise InvalidInput(f"'{module}' is an installed library, not your own module", hint="wrap the call in a module of your own")
    if spec.submodule_search_locations is None:
        return _bounded({f"{folder}/{origin.name}": origin})
    root = origin.parent
    found = {f"{folder}/{top}/{file.relative_to(root).as_posix()}": file for file in sorted(root.rglob("*")) if _taken(file, root)}
    return _bounded(found)


def _taken(file: Path, root: Path) -> bool:
    parts = file.relative_to(root).parts
    return not (_SKIPPED & set(parts)) and not any(part.startswith(".") for part in parts) and (file.is_symlink() or file.is_file())


def _bounded(files: dict[str, Path]) -> dict[str, Path]:
    total = 0
    for name, file in files.items():
        if file.is_symlink() or not file.is_file() or file.stat().st_nlink > 1:
            raise InvalidInput(f"{name} is a link, which a package does not follow", hint="put the file itself there")
        total += file.stat().st_size
    if len(files) > MAX_FILES or total > MAX_BYTES:
        raise TooLarge(
            f"the module's folder holds {len(files)} files, {total} bytes; {MAX_FILES} files, {MAX_BYTES} bytes are taken at most",
            hint="put the code into a small folder of its own",
        )
    return files
