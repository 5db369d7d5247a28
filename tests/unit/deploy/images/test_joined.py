"""Documents under a tag that others write too: theirs stay, ours are added once, and what is something else is not written over."""

import pytest

from aweigh.core.errors import InvalidFile
from aweigh.core.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor, encode
from aweigh.deploy.images.build import describe
from aweigh.deploy.images.documents import DOCKER_LIST_TYPE, EMPTY_TYPE, Index, Manifest, decode
from aweigh.deploy.images.joined import join_documents

A, B = (describe(data, MANIFEST_TYPE) for data in (b"a", b"b"))


def index(*entries: Descriptor, kind: str = INDEX_TYPE) -> bytes:
    return encode(Index(schema_version=2, media_type=kind, manifests=entries, annotations={"kept": "yes"} if kind else {}))


def signatures(*texts: str) -> bytes:
    payload = describe(b"payload", "application/json")
    layers = tuple(Descriptor(media_type="x", digest=payload.digest, size=7, annotations={"signature": text}) for text in texts)
    return encode(Manifest(schema_version=2, config=describe(b"{}", EMPTY_TYPE), layers=layers))


@pytest.mark.parametrize(("kind", "means"), [(INDEX_TYPE, INDEX_TYPE), ("", INDEX_TYPE), (DOCKER_LIST_TYPE, DOCKER_LIST_TYPE)])
def test_an_index_has_both_in_the_order_they_came(kind: str, means: str) -> None:
    joined, found, blobs = join_documents(index(B), index(A, kind=kind), INDEX_TYPE, place="x")
    assert decode(joined, Index, place="x") == decode(index(A, B, kind=kind), Index, place="x")
    assert (found, blobs) == (means, ())


def test_what_is_all_there_is_left_byte_by_byte() -> None:
    there = b" " + index(A, B)
    assert join_documents(index(B), there, INDEX_TYPE, place="x")[0] == there
    there = b" " + signatures("one", "two")
    assert join_documents(signatures("two"), there, MANIFEST_TYPE, place="x") == (there, MANIFEST_TYPE, ())


def test_signatures_of_one_payload_are_told_apart() -> None:
    joined, _, (config,) = join_documents(signatures("two"), signatures("one"), MANIFEST_TYPE, place="x")
    found = decode(joined, Manifest, place="x")
    assert [layer.annotations["signature"] for layer in found.layers] == ["one", "two"]
    assert found.config.digest == describe(config, "").digest


@pytest.mark.parametrize(
    ("ours", "there", "kind"), [(index(A), signatures("one"), INDEX_TYPE), (signatures("one"), index(A), MANIFEST_TYPE)]
)
def test_what_is_something_else_is_refused(ours: bytes, there: bytes, kind: str) -> None:
    with pytest.raises(InvalidFile, match="the tag"):
        join_documents(ours, there, kind, place="the tag")
