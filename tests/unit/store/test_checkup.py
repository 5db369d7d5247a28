"""What `fsck` finds, what that affects, and what it mends without losing anything."""

import json
import shutil

import pytest

from aweigh.core.names import alias_name, parse_reference
from aweigh.store import Store

MODEL = "variants/onnx/model.onnx"


@pytest.fixture
def filled(store, make_draft, name) -> Store:
    """fraud:1 and fraud:2, which share all but their weights; fraud@champion is fraud:1."""
    store.publish(name, make_draft(b"1")).path(MODEL)
    store.publish(name, make_draft(b"2"))
    store.set_alias(name, alias_name("champion"), 1)
    return store


def blob(store, version, path=MODEL):
    package = store.open(parse_reference(f"fraud:{version}"))
    return package.blobs.path(next(file.digest for file in package.manifest.files if file.path == path))


def overwrite(path, data):
    path.chmod(0o644)
    path.write_bytes(data)


def found(store, **how):
    return [(finding.what, finding.affects, finding.mended) for finding in store.check(**how).findings]


def test_a_whole_store(filled, tmp_path):
    checkup = filled.check()
    assert (checkup.findings, checkup.versions, checkup.whole) == ((), 2, True)
    assert checkup.blobs == len(list((filled.folder / "blobs/sha256").iterdir()))
    assert Store(tmp_path / "absent").check(repair=True).whole
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("how", ["flipped", "truncated", "missing", "a link", "a folder"])
def test_a_damaged_blob_names_the_versions_and_aliases_that_need_it(filled, how, tmp_path):
    mine, shared = blob(filled, 1), blob(filled, 1, "golden/sample.tensors")
    for path in (mine, shared):
        data = path.read_bytes()
        if how == "flipped":
            overwrite(path, bytes([data[0] ^ 1]) + data[1:])
        elif how == "truncated":
            overwrite(path, data[:-1])
        else:
            path.unlink()
        if how == "a link":
            (tmp_path / path.name).write_bytes(data)
            path.symlink_to(tmp_path / path.name)
        elif how == "a folder":
            path.mkdir()
    expected = {("fraud:1", "fraud@champion"), ("fraud:1", "fraud@champion", "fraud:2")}
    for repair in (False, True):
        seen = [finding for finding in found(filled, repair=repair) if finding[0] == "blob"]
        assert {affects for _, affects, _ in seen} == expected
        assert not any(mended for _, _, mended in seen), "what a version needs is never taken away"
    assert not filled.check().whole
    assert len(filled.list()) == 2


def test_damage_that_was_read_before_is_found(filled):
    """Found whole once in this process, changed since without a change of size or time."""
    import os

    path = blob(filled, 2)
    status = path.stat()
    overwrite(path, b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [what for what, *_ in found(filled)] == ["blob"]


def test_a_version_that_cannot_be_opened(filled):
    package = filled.open(parse_reference("fraud:2"))
    overwrite(package.blobs.path(package.digest), b"{}")
    seen = found(filled, repair=True)
    assert ("version", ("fraud:2",), False) in seen
    assert ("blob", (), False) in seen
    assert package.blobs.path(package.digest).exists(), "not removed: it cannot be known what needs it"
    assert filled.open(parse_reference("fraud:1")).digest


def test_damaged_blobs_that_no_version_needs_go(filled):
    stray = filled.folder / "blobs/sha256" / ("0" * 64)
    stray.write_bytes(b"x")
    (stray.parent / "notes.txt").write_text("mine")
    assert found(filled) == [("blob", (), False)] * 2
    assert found(filled, repair=True) == [("blob", (), True)] * 2
    assert found(filled) == []


def test_the_index_comes_back_from_the_copy_of_the_one_before(filled):
    index = filled.folder / "index.json"
    for spoil in (lambda: index.write_bytes(b"{"), index.unlink):
        spoil()
        assert found(filled) == [("index", (), False)]
        assert found(filled, repair=True) == [("index", (), True)]
        assert found(filled) == []
        assert len(filled.list()) == 2


def test_without_any_index_nothing_is_removed(filled):
    for file in ("index.json", "index.previous.json"):
        (filled.folder / file).write_bytes(b"{")
    (filled.folder / "blobs/sha256" / ("0" * 64)).write_bytes(b"x")
    before = sorted(filled.folder.rglob("*"))
    assert [finding[2] for finding in found(filled, repair=True)] == [False, False]
    assert [path for path in before if not path.exists()] == []


def test_an_alias_of_no_version(filled):
    path = filled.folder / "index.json"
    index = json.loads(path.read_bytes())
    ghost = {**index["manifests"][0], "digest": "sha256:" + "0" * 64, "annotations": {"org.opencontainers.image.ref.name": "fraud@ghost"}}
    path.write_text(json.dumps({**index, "manifests": [*index["manifests"], ghost]}))
    assert found(filled) == [("alias", (), False)]
    assert found(filled, repair=True) == [("alias", (), True)]
    assert "ghost" not in path.read_text()
    assert filled.aliases("fraud") == {"champion": 1}


def test_views_and_the_layout_file_are_made_again(filled):
    view = next((filled.folder / "views").rglob("model.onnx"))
    view.unlink()
    view.write_bytes(b"evil")
    (filled.folder / "oci-layout").unlink()
    assert [what for what, *_ in found(filled)] == ["layout", "view"]
    assert [mended for *_, mended in found(filled, repair=True)] == [True, True]
    assert found(filled) == []
    assert filled.open(parse_reference("fraud:1")).path(MODEL).read_bytes() == b"1"


def test_a_link_in_a_view(filled, tmp_path):
    view = next((filled.folder / "views").rglob("model.onnx"))
    view.unlink()
    view.symlink_to(tmp_path)
    (view.parent / "folder").symlink_to(tmp_path)
    assert found(filled, repair=True) == [("view", (), True)]
    assert tmp_path.exists()
    assert found(filled) == []
    shutil.rmtree(filled.folder / "views", ignore_errors=True)
    assert found(filled) == []
