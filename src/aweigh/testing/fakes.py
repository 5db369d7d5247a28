"""Fakes of the seams in `core/protocols.py`: a session that is a function, a package that is a folder, a remote that is two dicts."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
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


class MemoryRemote:
    """A `Remote` in memory. `blobs` and `manifests` are by digest, `named` by tag; `sent` lists the blobs that were sent, in order."""

    def __init__(self, *, chunk_bytes: int = 1000) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.named: dict[str, str] = {}
        self.sent: list[Digest] = []
        self._chunk_bytes = chunk_bytes

    def tags(self) -> list[str]:
        return list(self.named)

    def manifest(self, tag: str) -> bytes:
        found = self.manifests.get(self.named.get(tag, tag))
        if found is None:
            raise NotFound(f"there is no {tag!r}")
        return found

    def get(self, digest: Digest, size_bytes: int) -> Iterator[bytes]:
        data = self.blobs.get(digest)
        if data is None:
            raise NotFound(f"there is no blob {digest}")
        return (data[at : at + self._chunk_bytes] for at in range(0, len(data), self._chunk_bytes))

    def put(self, digest: Digest, size_bytes: int, path: Path) -> bool:
        if digest in self.blobs:
            return False
        self.blobs[digest] = path.read_bytes()
        self.sent.append(digest)
        return True

    def tag(self, tag: str, manifest: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.manifests[digest] = manifest
        self.named[tag] = digest
