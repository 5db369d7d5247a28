"""The layout on disk as other tools read it."""

import hashlib
import json
import subprocess

import pytest

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.names import alias_name, parse_reference
from aweigh.store import Store


@pytest.fixture
def published(store, make_draft, name):
    store.publish(name, make_draft())
    store.set_alias(name, alias_name("champion"), 1)
    return store


def read(store: Store, digest: str) -> dict:
    data = (store.folder / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest.removeprefix("sha256:")
    return json.loads(data)


def test_the_manifest_is_a_modelpack_artifact(published):
    assert json.loads((published.folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((published.folder / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    entries = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry for entry in index["manifests"]}
    assert set(entries) == {"fraud:1", "fraud@champion"}
    assert entries["fraud:1"]["digest"] == entries["fraud@champion"]["digest"]
    manifest = read(published, entries["fraud:1"]["digest"])
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in manifest["layers"]} == {
        "aweigh.json": "application/vnd.aweigh.package.v1+json",
        "golden/sample.tensors": "application/vnd.cncf.model.dataset.v1.raw",
        "hooks/prepare.py": "application/vnd.cncf.model.code.v1.raw",
        "variants/onnx/model.onnx": "application/vnd.cncf.model.weight.v1.raw",
        "variants/onnx/model.onnx.data": "application/vnd.cncf.model.weight.v1.raw",
        "variants/sklearn/model.joblib": "application/vnd.cncf.model.weight.v1.raw",
    }


def test_the_config_has_the_fields_of_the_specification(published):
    package = published.open(parse_reference("fraud"))
    config = read(published, package.oci.config.digest)
    assert config["descriptor"] == {
        "createdAt": "2026-01-02T03:04:05Z",
        "description": "A sample of format version 1.",
        "revision": "0123abc",
        "licenses": ["Apache-2.0"],
    }
    assert config["config"] == {"format": "onnx", "precision": "float32,float64"}
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer.digest for layer in package.oci.layers]}


def test_skopeo_reads_and_copies_a_version(published, program, tmp_path):
    skopeo = program("skopeo")
    digest = published.open(parse_reference("fraud")).digest
    for name in ("fraud:1", "fraud@champion"):
        raw = subprocess.run([skopeo, "inspect", "--raw", f"oci:{published.folder}:{name}"], capture_output=True, check=True, timeout=30)
        assert f"sha256:{hashlib.sha256(raw.stdout).hexdigest()}" == digest
    target = tmp_path / "copy"
    command = [skopeo, "--insecure-policy", "copy", "-q", f"oci:{published.folder}:fraud:1", f"oci:{target}:fraud:1"]
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    copied = Store(target).open(parse_reference("fraud:1"))
    assert copied.digest == digest
    copied.verify()
    assert copied.path("variants/onnx/model.onnx").read_bytes() == b"weights"


def test_what_other_tools_wrote_into_the_index_stays(published, make_draft, name):
    path = published.folder / "index.json"
    index = json.loads(path.read_bytes())
    stranger = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": index["manifests"][0]["digest"],
        "size": index["manifests"][0]["size"],
        "platform": {"os": "linux", "architecture": "arm64"},
        "annotations": {"org.opencontainers.image.ref.name": "Not Ours/At All"},
    }
    index["manifests"].append(stranger)
    index["annotations"]["com.example.note"] = "kept"
    path.write_bytes(json.dumps(index).encode())
    published.publish(name, make_draft(b"2"))
    after = json.loads(path.read_bytes())
    assert stranger in after["manifests"]
    assert after["annotations"]["com.example.note"] == "kept"
    assert [str(line.reference) for line in published.list()] == ["fraud:1", "fraud:2"]


def test_an_alias_that_another_tool_wrote_is_told_by_its_digest(published, name):
    path = published.folder / "index.json"
    index = json.loads(path.read_bytes())
    for entry in index["manifests"]:
        entry["annotations"] = {key: value for key, value in entry["annotations"].items() if "ref.name" in key}
    path.write_bytes(json.dumps(index).encode())
    assert published.aliases(name) == {"champion": 1}
    (line,) = published.list()
    assert (line.size_bytes, line.runtime, line.verdict) == (0, "", "")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b'{"schemaVersion":2}', b'{"schemaVersion":2,"manifests":[{}]}', b"\0" * 100]
)
def test_a_damaged_index_is_refused_and_left_alone(published, make_draft, name, data):
    path = published.folder / "index.json"
    path.write_bytes(data)
    for act in (published.list, lambda: published.publish(name, make_draft()), published.collect):
        with pytest.raises(InvalidFile, match=r"not an OCI index") as caught:
            act()
        assert "index.previous.json" in caught.value.hint
    assert path.read_bytes() == data
    (published.folder / "index.previous.json").replace(path)
    assert [str(line.reference) for line in published.list()] == ["fraud:1"]


def test_a_layout_of_another_version_is_refused(published, make_draft, name):
    layout = published.folder / "oci-layout"
    layout.write_bytes(b'{"imageLayoutVersion":"9.0.0"}')
    with pytest.raises(Unsupported, match=r"9\.0\.0"):
        published.publish(name, make_draft())
    layout.write_bytes(b"?")
    with pytest.raises(InvalidFile):
        published.publish(name, make_draft())
