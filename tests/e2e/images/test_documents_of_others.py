"""Signatures and documents that others have put beside an image in a real registry: still there after a push, ours added once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.remotes.servers import PASSWORD, USER, docker_registry

from aweigh.core.names import Digest
from aweigh.core.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor, encode
from aweigh.deploy.images.attach import documents_about
from aweigh.deploy.images.build import Image, ImageRequest, describe
from aweigh.deploy.images.documents import EMPTY_TYPE, Manifest
from aweigh.deploy.images.output import Attached, push_image
from aweigh.store.remotes import Access, parse_address
from aweigh.store.remotes.registry import Registry

EMPTY = b"{}"
THEIRS = "application/vnd.example.scan+json"


@pytest.fixture
def registry(tmp_path: Path, program: Any) -> Iterator[Registry]:
    with docker_registry(program("docker-registry"), tmp_path / "registry") as running:
        access = Access(ca_file=str(running.ca_file), username=USER, password=PASSWORD)
        yield Registry(parse_address(f"{running.host}/team/iris"), access)


def put(registry: Registry, folder: Path, data: bytes) -> None:
    (folder / "blob").write_bytes(data)
    registry.put(describe(data, "").digest, len(data), folder / "blob")


def document(**said: Any) -> bytes:
    return encode(Manifest(schema_version=2, config=describe(EMPTY, EMPTY_TYPE), layers=(), **said))


def key(folder: Path, name: str) -> Path:
    file = folder / name
    file.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def about(image: Image, key_file: Path) -> list[Attached]:
    """A signature and the list with it: of no platform, so the request is not looked at."""
    return documents_about(image, cast("ImageRequest", None), name="iris", package=image.digest, key_file=key_file)


def there(registry: Registry, tag: str) -> Any:
    return json.loads(registry.fetch(tag, (INDEX_TYPE, MANIFEST_TYPE)))


def test_what_others_put_beside_it_stays(registry: Registry, tmp_path: Path) -> None:
    """A scanner's report in the list of referrers, and the signature of somebody else's key as cosign appends one: with no subject."""
    put(registry, tmp_path, EMPTY)
    made = document(annotations={"of": "a test"})
    image = Image(descriptor=describe(made, MANIFEST_TYPE), document=made, platforms=())
    tag = image.digest.replace(":", "-")
    registry.keep(image.digest, made, MANIFEST_TYPE)
    report = document(artifact_type=THEIRS, subject=image.descriptor)
    registry.keep(describe(report, "").digest, report, MANIFEST_TYPE)
    entry = Descriptor(media_type=MANIFEST_TYPE, digest=describe(report, "").digest, size=len(report), artifact_type=THEIRS)
    registry.keep(
        tag, json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [json.loads(encode(entry))]}).encode(), INDEX_TYPE
    )
    theirs = about(image, key(tmp_path, "theirs.pem"))[0]
    for blob in theirs.blobs:
        put(registry, tmp_path, blob)
    signed = json.loads(theirs.manifest)
    del signed["subject"]
    registry.keep(f"{tag}.sig", json.dumps(signed).encode(), MANIFEST_TYPE)

    ours = about(image, key(tmp_path, "ours.pem"))
    sent = push_image(image, registry, "v1", ours)
    listed, signatures = there(registry, tag)["manifests"], there(registry, f"{tag}.sig")
    assert [each["digest"] for each in listed] == [entry.digest, ours[0].descriptor.digest]
    assert signatures["layers"] == [*signed["layers"], *json.loads(ours[0].manifest)["layers"]]
    assert there(registry, ours[0].descriptor.digest)["subject"]["digest"] == image.digest, "what the list names is there"
    config = b"".join(registry.get(Digest(signatures["config"]["digest"]), signatures["config"]["size"]))
    assert json.loads(config)["rootfs"]["diff_ids"] == [each["digest"] for each in signatures["layers"]]
    assert {each.tag: each.descriptor.digest for each in sent.attached if each.tag} == {
        name: describe(registry.fetch(name, (INDEX_TYPE, MANIFEST_TYPE)), "").digest for name in (tag, f"{tag}.sig")
    }

    again = push_image(image, registry, "v1", about(image, tmp_path / "ours.pem"))
    assert again.sent == 0
    assert there(registry, tag)["manifests"] == listed
    assert there(registry, f"{tag}.sig") == signatures, "the same key signs once"
    push_image(image, registry, "v1", about(image, key(tmp_path, "next.pem")))
    assert len(there(registry, f"{tag}.sig")["layers"]) == 3
