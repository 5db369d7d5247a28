"""The contract of a remote, as a class that pytest collects when it is subclassed. What passes it can be pushed to and pulled from."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from aweigh.core.errors import AweighError, NotFound
from aweigh.core.names import Digest
from aweigh.core.protocols import Remote

_LARGE = 300_000


class RemoteContract:
    """Subclass as `TestX`, and implement `remote`."""

    def remote(self, name: str) -> Remote:
        """The repository of that name, empty when first asked for; asked again, the same one, as another process would see it."""
        raise NotImplementedError

    def test_a_blob_comes_back_as_it_was_sent(self, tmp_path: Path) -> None:
        """Small, empty and large, each once."""
        remote = self.remote("contract/blobs")
        for data in (b"small", b"", bytes(range(256)) * (_LARGE // 256)):
            digest, path = _blob(tmp_path, data)
            if not remote.put(digest, len(data), path):
                raise AssertionError("what was not there was not sent")
            again = self.remote("contract/blobs")
            if b"".join(again.get(digest, len(data))) != data:
                raise AssertionError(f"{len(data)} bytes came back as others")
            if again.put(digest, len(data), path):
                raise AssertionError("what was there was sent again")

    def test_tags_name_manifests_and_move(self, tmp_path: Path) -> None:
        """A manifest comes back byte for byte, by tag and by digest; the old one stays when its tag moves."""
        remote = self.remote("contract/tags")
        first, second = (self._manifest(remote, tmp_path, text) for text in ("first", "second"))
        remote.tag("v1", first)
        remote.tag("latest", first)
        remote.tag("latest", second)
        again = self.remote("contract/tags")
        if (again.manifest("v1"), again.manifest("latest")) != (first, second):
            raise AssertionError("a tag names another manifest than it was given")
        for manifest in (first, second):
            if again.manifest(_digest(manifest)) != manifest:
                raise AssertionError("a manifest cannot be had by its digest")
        if sorted(again.tags()) != ["latest", "v1"]:
            raise AssertionError(f"the tags are said to be {again.tags()}")

    def test_what_is_not_there_is_not_found(self) -> None:
        """Tag, digest and blob raise NotFound; a repository that is not there has no tags."""
        remote = self.remote("contract/none")
        if remote.tags():
            raise AssertionError("an empty repository has tags")
        absent = _digest(b"absent")
        for ask in (lambda: remote.manifest("v1"), lambda: remote.manifest(absent), lambda: list(remote.get(absent, 6))):
            with _raises(NotFound):
                ask()

    def _manifest(self, remote: Remote, folder: Path, text: str) -> bytes:
        """A small manifest whose blobs are there."""
        parts = []
        for data in (b"{}", text.encode()):
            digest, path = _blob(folder, data)
            remote.put(digest, len(data), path)
            parts.append({"mediaType": "application/vnd.cncf.model.doc.v1.raw", "digest": digest, "size": len(data)})
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": parts[0],
            "layers": parts[1:],
        }
        return json.dumps(manifest).encode()


def _digest(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def _blob(folder: Path, data: bytes) -> tuple[Digest, Path]:
    digest = _digest(data)
    path = folder / digest.removeprefix("sha256:")
    path.write_bytes(data)
    return digest, path


@contextlib.contextmanager
def _raises(kind: type[AweighError]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")
