"""Addresses: what is one, and every trick that is none."""

import pytest

from aweigh.core.errors import InvalidInput
from aweigh.store.remotes import parse_address

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("registry.example/team/fraud", ("oci", "registry.example", "team/fraud", "", None)),
        ("registry.example:5000/fraud:v3", ("oci", "registry.example:5000", "fraud", "v3", None)),
        ("localhost/fraud", ("oci", "localhost", "fraud", "", None)),
        ("oci://localhost:5000/a/b/c-d_e.f:latest", ("oci", "localhost:5000", "a/b/c-d_e.f", "latest", None)),
        ("[::1]:5000/fraud", ("oci", "[::1]:5000", "fraud", "", None)),
        ("127.0.0.1:5000/fraud@" + DIGEST, ("oci", "127.0.0.1:5000", "fraud", "", DIGEST)),
        ("Registry.Example/fraud", ("oci", "registry.example", "fraud", "", None)),
        ("s3://bucket/models/Fraud=1:v1", ("s3", "bucket", "models/Fraud=1", "v1", None)),
        ("gs://my_bucket/fraud", ("gs", "my_bucket", "fraud", "", None)),
        ("az://container/fraud", ("az", "container", "fraud", "", None)),
    ],
)
def test_addresses(text, parts):
    found = parse_address(text)
    assert (found.scheme, found.host, found.repository, found.tag, found.digest) == parts
    assert parse_address(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "fraud", "team/fraud", "/fraud", "registry.example", "registry.example/", "registry.example/Fraud", "registry.example//fraud",
        "registry.example/../fraud", "registry.example/a/../../b", "registry.example/%2e%2e%2ffraud", "registry.example/..%252ffraud",
        "registry.example/a\0b", "registry.example/a b", "registry.example/fraud ", "C:\\models\\fraud", "//host/x", "file:///etc/passwd",
        "http://registry.example/fraud", "https://registry.example/fraud", "http:///#/../../etc", "registry.example/fraud?x=1",
        "registry.example/fraud#../x", "user:password@registry.example/fraud", "user@registry.example/fraud",
        "registry.example:0/fraud", "registry.example:65536/fraud", "registry.example:99999999/fraud", "registry.example:x/fraud",
        "registry.example:/fraud", "registry.example/fraud:", "registry.example/fraud:../x", "registry.example/fraud:" + "a" * 129,
        "registry.example/fraud:v1@" + DIGEST, "registry.example/fraud@sha256:abc", "registry.example/fraud@",
        "registry.example/fraud@sha512:" + "a" * 128, "0x7f.1/fraud", "127.1/fraud", "2130706433:80/fraud", "0177.0.0.1/fraud",
        "169.254.169.254/latest", "[fe80::1]:80/fraud", "0.0.0.0:80/fraud", "[::1/fraud", "registry\n.example/fraud",
        "registry.exämple/fraud", "-registry.example/fraud", "registry..example/fraud", "s3://", "s3://bucket", "s3://bucket/../x",
        "s3://Bucket/x", "s3://b/x", "s3://bucket/x/./y", "s3://bucket//x", "s3://bucket/x%2f..", "ftp://bucket/x",
        "registry.example/" + "a" * 4096,
    ],
)  # fmt: skip
def test_what_is_no_address(text):
    with pytest.raises(InvalidInput) as caught:
        parse_address(text)
    assert caught.value.hint
    assert len(caught.value.message) < 400


def test_loopback():
    found = [parse_address(text).loopback for text in ("localhost/x", "127.8.8.8:1/x", "[::1]:1/x", "localhost.example/x", "10.0.0.1:1/x")]
    assert found == [True, True, True, False, False]
