"""Fakes of the seams in `core/protocols.py`: a session that is a function, a package that is a folder."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from aweigh.core.errors import NotFound
from aweigh.core.names import Digest, ModelName, Reference
from aweigh.core.package import PackageManifest, encode_manifest
from aweigh.core.tensors import Tensor, Tensors


class FakeSession:
    """Answers with `function(inputs)`, and remembers: `calls` holds the inputs of every run, `closed` how often it was closed."""

    def __init__(self, function: Callable[[Tensors], Sequence[Tensor]], *, concurrent: bool = True, isolated: bool = False) -> None:
        self.concurrent = concurrent
        self.isolated = isolated
        self.calls: list[Tensors] = []
        self.closed = 0
        self._function = function

    def run(self, inputs: Tensors) -> list[Tensor]:
        self.calls.append(inputs)
        return list(self._function(inputs))

    def close(self) -> None:
        self.closed += 1


class FakeHandle:
    """A package whose files lie in a folder under their package paths; nothing is verified."""

    def __init__(self, manifest: PackageManifest, folder: Path, *, name: str = "fake", version: int = 1) -> None:
        self.manifest = manifest
        self.reference = Reference(name=ModelName(name), version=version)
        self.digest = Digest("sha256:" + hashlib.sha256(encode_manifest(manifest)).hexdigest())
        self._folder = folder

    def path(self, file: str) -> Path:
        """The file in the folder. Raises NotFound."""
        found = self._folder / file
        if not found.is_file():
            raise NotFound(f"the package has no file {file}")
        return found
