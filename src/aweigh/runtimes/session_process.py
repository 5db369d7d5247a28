"""The child's side of a session in a process: loads the variant with its own runtime, hooks included. Runs only inside an isolated process."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aweigh.core.errors import FileMissing
from aweigh.core.package import PackageManifest
from aweigh.core.tensors import Tensor, Tensors
from aweigh.isolate import Environments
from aweigh.runtimes.hooks import load_variant

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest with the one variant to load, where each package path lies, and the folder for temporary files, which the parent removes."""

    manifest: PackageManifest
    files: dict[str, str]
    scratch: str
    session_threads: int
    environments: str = ""
    """Folder of environments, where the runtime's libraries may be missing here."""


def open_session(opening: Opening) -> Handler:
    """Load the variant and return its handler. Raises what loading it raises."""
    os.environ["TMPDIR"] = tempfile.tempdir = opening.scratch
    environments = Environments(Path(opening.environments), allowed=False) if opening.environments else None
    session = load_variant(
        opening.manifest,
        opening.manifest.variants[0],
        _path(opening),
        session_threads=opening.session_threads,
        in_child=True,
        environments=environments,
    )
    names = [spec.name for spec in opening.manifest.signature.outputs]

    def handle(said: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return said, dict(zip(names, session.run(tensors), strict=True))

    return handle


def _path(opening: Opening) -> Callable[[str], Path]:
    def path(file: str) -> Path:
        found = opening.files.get(file)
        if found is None:
            raise FileMissing(f"the package has no file {file} for this variant")
        return Path(found)

    return path
