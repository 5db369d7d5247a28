"""The folder that Docker builds an image in: aweigh's own files and nothing else, because what lies there is copied into the image. Used by `app`.

What a person put there or changed is never written over or removed; the ledger of `deploy/folder.py` tells the two apart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aweigh.core.errors import Conflict, InvalidInput
from aweigh.deploy.folder import Ledger, read_ledger, write_folder
from aweigh.deploy.images.base import ARCHIVE, OCI

_TARGET: Final = "dockerfile"
_HINT: Final = "name a folder that is not there yet"


def check_context(folder: Path, base: str) -> None:
    """Raise Conflict for a folder that holds something else, InvalidInput for a base that a Dockerfile cannot name: before anything is built."""
    if base.startswith((OCI, ARCHIVE)):
        raise InvalidInput(f"a Dockerfile cannot name {base!r}", hint="name a base that is in a registry: --base python:3.12-slim")
    if folder.exists() and not folder.is_dir():
        raise Conflict(f"{folder} is a file", hint=_HINT)
    before = read_ledger(folder)
    if before is None and folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} holds something else", hint=_HINT)
    if before is not None and before.target != _TARGET:
        raise Conflict(f"{folder} holds what was rendered for '{before.target}'", hint=_HINT)


def write_context(folder: Path, files: Mapping[str, bytes | Path], *, name: str, model: str, digest: str) -> None:
    """Write the files, and remove what was written before and is not any more. Raises Conflict, and then changes nothing; StoreUnavailable."""
    before = read_ledger(folder)
    ours = {*files, *(before.files if before else ())}
    for top in sorted({path.partition("/")[0] for path in files if "/" in path}):
        for path in sorted((folder / top).rglob("*")):
            if (path.is_symlink() or not path.is_dir()) and path.relative_to(folder).as_posix() not in ours:
                raise Conflict(f"{path} was not written by aweigh, and would be copied into the image", hint=f"move it, or {_HINT}")
    try:
        write_folder(folder, files, Ledger(name=name, target=_TARGET, model=model, digest=digest, files={}))
    except Conflict as error:
        raise Conflict(error.message, hint=_HINT) from error
