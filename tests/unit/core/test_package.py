import json
from pathlib import Path

import msgspec
import pytest

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.package import FORMAT_VERSION, decode_manifest, encode_manifest

FORMATS = Path(__file__).parents[2] / "data/formats"
SAMPLE = FORMATS / "aweigh-1.json"


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_format_version_has_a_sample_that_is_read(version):
    manifest = decode_manifest((FORMATS / f"aweigh-{version}.json").read_bytes())
    assert [variant.name for variant in manifest.variants] == ["onnx", "sklearn"]
    assert manifest.variant("onnx").evidence.check("answers").figures["max_rel"] is None
    assert manifest.variant("none") is None
    assert manifest.variant("onnx").missing_text == ""
    assert manifest.variant("sklearn").missing_text is None


def test_the_sample_of_this_version_is_what_this_version_writes():
    """A change of any name or default in the manifest shows here: raise FORMAT_VERSION, or keep the old form readable."""
    data = SAMPLE.read_bytes()
    assert json.loads(encode_manifest(decode_manifest(data))) == json.loads(data)


def test_encoding_is_deterministic():
    manifest = decode_manifest(SAMPLE.read_bytes())
    shuffled = json.dumps(dict(reversed(json.loads(SAMPLE.read_bytes()).items()))).encode()
    assert encode_manifest(decode_manifest(shuffled)) == encode_manifest(manifest)


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(SAMPLE.read_bytes()), **fields}).encode()


@pytest.mark.parametrize("extra", [{}, {"signature": "of another kind", "unknown": 1}])
def test_a_newer_version_is_refused_by_name(extra):
    with pytest.raises(Unsupported, match="format version 2 is newer than this aweigh understands") as caught:
        decode_manifest(changed(format_version=FORMAT_VERSION + 1, **extra), place="fraud:1")
    assert "pip install -U aweigh" in caught.value.hint
    assert caught.value.message.startswith("fraud:1: ")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 100_000, b'{"a":' * 100_000, b'{"format_version":' + b"[" * 100_000,
        b'{"format_version":1,"format_version":1}', SAMPLE.read_bytes()[:-20], SAMPLE.read_bytes() + b"x",
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(InvalidFile, match=r"aweigh\.json: "):
        decode_manifest(data)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"format_version": 0}, "format version 0"),
        ({"format_version": -1}, "format version -1"),
        ({"format_version": "1"}, "format version '1'"),
        ({"format_version": None}, "format version None"),
        ({"format_version": 1.5}, "format version 1.5"),
        ({"format_version": True}, r"\$.format_version"),
        ({"unknown": 1}, "unknown"),
        ({"golden": [{"name": "a"}]}, r"\$.golden\[0\]"),
        ({"files": [{"path": "a", "digest": "x", "size_bytes": "many"}]}, r"\$.files\[0\].size_bytes"),
        ({"signature": {"inputs": [{"name": "x", "datatype": "FP31", "shape": []}], "outputs": []}}, r"\$.signature.inputs\[0\].datatype"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(fields, path):
    with pytest.raises(InvalidFile, match=path):
        decode_manifest(changed(**fields))


def test_a_field_of_a_newer_aweigh_is_refused_by_name():
    """Optional fields do not raise the format version: a reader that does not know one says so."""
    spec = {"name": "y", "datatype": "FP32", "shape": ["batch"], "tolerance": {"atol": 1e-4, "rtol": 1e-3}}
    assert decode_manifest(changed(signature={"inputs": [], "outputs": [spec]})).signature.outputs[0].tolerance.rtol == 1e-3
    with pytest.raises(InvalidFile, match=r"unknown field `later`.*\$.signature.outputs\[0\]") as caught:
        decode_manifest(changed(signature={"inputs": [], "outputs": [{**spec, "later": 1}]}))
    assert "a newer aweigh made the package" in caught.value.hint


def test_a_figure_that_is_not_finite_is_written_as_null():
    manifest = decode_manifest(SAMPLE.read_bytes())
    check = manifest.variants[0].evidence.check("answers")
    assert b'"max_abs":null' in msgspec.json.encode(msgspec.structs.replace(check, figures={"max_abs": float("inf")}))
