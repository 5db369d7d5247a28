"""Whatever lies in index.json or a manifest, only an AweighError goes out, and what is read keeps its names when written."""

import contextlib
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aweigh.core.errors import InvalidFile
from aweigh.core.oci import REF_NAME
from aweigh.store.index import decode_index, encode_index
from aweigh.store.oci import decode_oci_manifest

QUICK = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.sampled_from(
    ["fraud:1", "fraud:2", "fraud@champion", "fraud", "other:1", "Not Ours", "", "fraud@x", "fraud:0", "../x:1", "a:1@b"]
)
ANNOTATIONS = st.fixed_dictionaries(
    {}, optional={REF_NAME: NAMES, "vnd.aweigh.version": st.sampled_from(["1", "2", "9", "x", "-1", "²", ""])}
)
DESCRIPTORS = st.fixed_dictionaries(
    {
        "mediaType": st.just("m"),
        "digest": st.sampled_from(["sha256:" + "0" * 64, "sha256:" + "1" * 64, "x"]),
        "size": st.integers(-1, 2**40),
    },
    optional={"annotations": ANNOTATIONS},
)
INDEXES = st.fixed_dictionaries(
    {"schemaVersion": st.just(2), "manifests": st.lists(DESCRIPTORS, max_size=6)},
    optional={
        "annotations": st.dictionaries(
            st.sampled_from(["vnd.aweigh.last-version.fraud", "other"]), st.sampled_from(["3", "x", "-5", "9" * 5000]), max_size=2
        )
    },
)


@QUICK
@given(document=INDEXES)
def test_indexes(document):
    try:
        index = decode_index(json.dumps(document).encode(), place="index.json")
    except InvalidFile:
        return
    again = decode_index(encode_index(index), place="index.json")
    assert {name: set(mine) for name, mine in again.versions.items()} == {name: set(mine) for name, mine in index.versions.items()}
    assert {name: mine for name, mine in again.names.items() if mine} == {name: mine for name, mine in index.names.items() if mine}
    assert again.last == index.last
    assert again.strangers == index.strangers
    assert index.next_version("fraud") > max(index.versions.get("fraud", {}), default=0)
    for name, aliases in index.names.items():
        assert set(aliases.values()) <= set(index.versions[name])


@QUICK
@given(data=st.binary(max_size=100))
def test_bytes_from_nowhere(data):
    for read in (decode_index, decode_oci_manifest):
        with contextlib.suppress(InvalidFile):
            read(data, place="here")
    for nested in (b"[" * 50_000, b'{"a":' * 50_000):
        with contextlib.suppress(InvalidFile):
            decode_index(nested, place="here")
