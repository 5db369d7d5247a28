"""Whatever an archive, an address or a manifest from elsewhere holds: only an AweighError goes out, and nothing is written."""

import contextlib
import hashlib
import json
import tarfile
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aweigh.core.errors import AweighError
from aweigh.core.names import Digest
from aweigh.store import Archive, Offer
from aweigh.store.intake import read_offer
from aweigh.store.remotes import parse_address

QUICK = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.one_of(
    st.sampled_from(["index.json", "oci-layout", "./index.json", "blobs/sha256/" + "0" * 64, "blobs/", "../x", "/x", "blobs/sha256/.."]),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=99),
)
KINDS = st.sampled_from([b"0", b"\0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"S", b"x", b"g", b"V", b"\xff"])
SIZES = st.one_of(st.integers(0, 2000), st.sampled_from([2**33, 2**62, 8**11 - 1]))


@st.composite
def tars(draw):
    """Bytes that are nearly an archive."""
    data = b""
    for _ in range(draw(st.integers(0, 5))):
        info = tarfile.TarInfo(draw(NAMES))
        info.type, info.size = draw(KINDS), draw(SIZES)
        with contextlib.suppress(ValueError):
            data += info.tobuf(tarfile.GNU_FORMAT)
        content = draw(st.binary(max_size=600))
        data += content + b"\0" * (-len(content) % 512)
    data = bytearray(data + b"\0" * draw(st.sampled_from([0, 100, 1024])))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@QUICK
@given(data=tars())
def test_archives(data):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.tar"
        file.write_bytes(data)
        with contextlib.suppress(AweighError), Archive(file) as archive:
            archive.offer()
        assert [path.name for path in Path(folder).iterdir()] == ["x.tar"]


@QUICK
@given(text=st.one_of(st.text(max_size=60), st.from_regex(r"[a-z0-9.:\[\]/@%#?_-]{0,60}", fullmatch=True)))
def test_addresses(text):
    with contextlib.suppress(AweighError):
        found = parse_address(text)
        assert parse_address(str(found)) == found
        assert not set(str(found)) & set("%#?\\ \0\n")
        assert ".." not in found.repository.split("/")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 2**70), st.text(max_size=10), st.just("sha256:" + "0" * 64)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
PARTS = st.fixed_dictionaries({"mediaType": JSON, "digest": JSON, "size": JSON}, optional={"annotations": JSON, "urls": JSON, "data": JSON})
MANIFESTS = st.fixed_dictionaries(
    {"schemaVersion": st.sampled_from([1, 2, None]), "config": PARTS, "layers": st.lists(PARTS, max_size=3)},
    optional={"mediaType": JSON, "annotations": JSON, "subject": JSON},
)


@QUICK
@given(document=st.one_of(MANIFESTS, JSON), right=st.booleans())
def test_manifests(document, right):
    data = json.dumps(document).encode()
    digest = Digest("sha256:" + (hashlib.sha256(data).hexdigest() if right else "0" * 64))
    with contextlib.suppress(AweighError):
        _, manifest = read_offer(Offer(place="x", digest=digest, manifest=data, fetch=lambda digest, size: iter(())))
        assert right
        assert all(part.size >= 0 and not part.urls for part in (manifest.config, *manifest.layers))
