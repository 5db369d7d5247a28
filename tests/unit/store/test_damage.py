"""What lies on disk is not believed: a flipped byte, a cut file, a link in its place are refused, and publishing again heals them."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from aweigh.core.errors import InvalidFile, StoreUnavailable
from aweigh.core.names import model_name, parse_reference
from aweigh.store import Store
from aweigh.store.files import Files
from aweigh.store.lock import LOCK_FILE, exclusive_lock

MODEL = "variants/onnx/model.onnx"
DATA = "variants/onnx/model.onnx.data"


def blob_of(store: Store, path: str) -> Path:
    package = store.open(parse_reference("fraud"))
    digest = next(file.digest for file in package.manifest.files if file.path == path)
    return store.folder / "blobs/sha256" / digest.removeprefix("sha256:")


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def truncate(path: Path) -> None:
    overwrite(path, path.read_bytes()[:-1])


def link(path: Path) -> None:
    twin = path.with_name("twin")
    path.rename(twin)
    path.symlink_to(twin)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def remove(path: Path) -> None:
    path.unlink()


DAMAGE = [flip, truncate, link, pipe, folder, remove]


@pytest.fixture
def published(store, make_draft, name):
    store.publish(name, make_draft())
    return store


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", [MODEL, DATA])
@pytest.mark.parametrize("before", ["never read", "read before"])
def test_a_damaged_blob_is_refused_and_other_versions_answer(published, make_draft, name, damage, file, before):
    published.publish(name, make_draft(b"other weights"))
    package = published.open(parse_reference("fraud:1"))
    if before == "read before":
        package.path(MODEL)
    digest = next(entry.digest for entry in package.manifest.files if entry.path == file)
    damage(published.folder / "blobs/sha256" / digest.removeprefix("sha256:"))
    for act in (lambda: package.path(MODEL), package.verify):
        with pytest.raises(InvalidFile) as caught:
            act()
        assert "pack or pull it again" in caught.value.hint or "refused" in caught.value.hint
    if file == MODEL:
        assert published.open(parse_reference("fraud:2")).path(MODEL).read_bytes() == b"other weights"


@pytest.mark.parametrize("damage", [flip, truncate, link, remove])
def test_publishing_the_same_content_again_heals_a_blob(published, make_draft, name, damage):
    package = published.open(parse_reference("fraud"))
    package.path(MODEL)
    damage(blob_of(published, MODEL))
    assert published.publish(name, make_draft()).digest == package.digest
    assert package.path(MODEL).read_bytes() == b"weights"
    package.verify()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_manifest_or_aweigh_json_is_refused_and_can_be_removed(published, damage, name, make_draft):
    published.publish(name, make_draft(b"2"))
    first, _ = published.list()
    damage(published.folder / "blobs/sha256" / first.digest.removeprefix("sha256:"))
    with pytest.raises(InvalidFile):
        published.open(parse_reference("fraud:1"))
    with pytest.raises(InvalidFile):
        published.collect(grace_s=0)
    published.open(parse_reference("fraud:2")).verify()
    published.remove(parse_reference("fraud:1"))
    published.open(parse_reference("fraud:2")).verify()


def test_a_damaged_view_is_made_again_from_the_blob(published):
    package = published.open(parse_reference("fraud"))
    path = package.path(MODEL)
    for spoil in (
        lambda: path.unlink(),
        lambda: (path.unlink(), path.write_bytes(b"evil")),
        lambda: (path.unlink(), path.symlink_to("/etc/passwd")),
    ):
        spoil()
        assert package.path(MODEL) == path
        assert not path.is_symlink()
        assert path.read_bytes() == b"weights"
    shutil.rmtree(published.folder / "views")
    assert package.path(MODEL).read_bytes() == b"weights"


def test_a_link_among_the_folders_of_a_view_is_refused(published, tmp_path):
    package = published.open(parse_reference("fraud"))
    root = package.path(MODEL).parents[1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(root)
    root.symlink_to(elsewhere)
    with pytest.raises(InvalidFile, match="is not a folder"):
        package.path(MODEL)
    assert list(elsewhere.iterdir()) == []


def test_without_hard_links_a_view_holds_copies(tmp_path, make_draft, name):
    def refuse(step: str, path: Path) -> None:
        if step == "link":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    store = Store(tmp_path / "store", files=Files(refuse))
    package = store.publish(name, make_draft())
    path = package.path(MODEL)
    assert path.stat().st_nlink == 1
    assert path.read_bytes() == b"weights"
    inode = path.stat().st_ino
    assert package.path(MODEL).stat().st_ino == inode, "a good copy is kept"
    path.chmod(0o644)
    path.write_bytes(b"Weights")
    os.utime(path, ns=(1, 1))
    assert package.path(MODEL).read_bytes() == b"weights"


def test_a_source_that_is_a_link_or_a_pipe_is_refused(store, make_draft, name, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "pipe")
    draft = make_draft()
    for source in ("link", "pipe"):
        files = {**draft.files, MODEL: tmp_path / source}
        with pytest.raises(InvalidFile, match="not a regular file"):
            store.publish(name, type(draft)(manifest=draft.manifest, files=files))
    assert store.list() == []
    assert [path.name for path in (store.folder / "blobs/sha256").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("step", ["make_folder", "open", "write", "sync", "rename", "sync_folder"])
def test_a_disk_that_refuses_is_a_store_that_is_unavailable(tmp_path, make_draft, name, number, step):
    folder = tmp_path / "store"
    if step != "make_folder":
        Store(folder).publish(name, make_draft())

    def refuse(at: str, path: Path) -> None:
        if at == step:
            raise OSError(number, os.strerror(number))

    with pytest.raises(StoreUnavailable) as caught:
        Store(folder, files=Files(refuse)).publish(name, make_draft(b"2"))
    assert "AWEIGH_HOME" in caught.value.hint
    assert str(folder) in caught.value.message
    assert len(Store(folder).list()) == (0 if step == "make_folder" else 1)
    assert list(folder.glob("**/.tmp-*")) == []
    assert Store(folder).publish(name, make_draft(b"2")).path(MODEL).read_bytes() == b"2"


def test_a_store_that_cannot_be_written_still_serves(tmp_path, make_draft, name):
    def refuse(step: str, path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    writable = Store(tmp_path / "store")
    writable.publish(name, make_draft())
    read_only = Store(tmp_path / "store", files=Files(refuse))
    package = read_only.open(parse_reference("fraud"))
    assert package.path("golden/sample.tensors").read_bytes() == b"content of golden/sample.tensors"
    with pytest.raises(StoreUnavailable, match="make a view"):
        package.path(MODEL)
    writable.open(parse_reference("fraud")).path(MODEL)
    assert package.path(MODEL).read_bytes() == b"weights", "a view that is there needs no writing"


@pytest.mark.parametrize("where", ["home", "store", "blobs", "index"])
def test_a_file_or_folder_in_the_wrong_place(tmp_path, make_draft, name, where):
    home = tmp_path / "home"
    if where == "home":
        home.write_text("not a folder")
    elif where == "index":
        (home / "store/index.json").mkdir(parents=True)
    else:
        home.mkdir()
        place = home / "store" if where == "store" else home / "store/blobs"
        place.parent.mkdir(exist_ok=True)
        place.write_text("not a folder")
    store = Store(home / "store")
    with pytest.raises((StoreUnavailable, InvalidFile)) as caught:
        store.publish(name, make_draft())
    assert caught.value.hint
    if where != "blobs":
        with pytest.raises((StoreUnavailable, InvalidFile)):
            store.list()


def test_the_holder_of_the_lock_is_named(store, make_draft, name):
    store.publish(name, make_draft())
    waiting = Store(store.folder, lock_timeout_s=0.0)
    with exclusive_lock(store.folder, timeout_s=1.0), pytest.raises(StoreUnavailable, match=f"locked by process {os.getpid()}"):
        waiting.publish(name, make_draft())
    assert [str(line.reference) for line in store.list()] == ["fraud:1"]
    assert str(waiting.publish(name, make_draft()).reference) == "fraud:2"


def test_a_lock_file_that_is_a_link_is_not_followed(store, make_draft, name, tmp_path):
    store.publish(name, make_draft())
    target = tmp_path / "target"
    target.write_text("precious")
    (store.folder / LOCK_FILE).unlink()
    (store.folder / LOCK_FILE).symlink_to(target)
    with pytest.raises(StoreUnavailable):
        store.publish(model_name("other"), make_draft())
    assert target.read_text() == "precious"


def test_what_lies_under_another_name_in_the_manifest_is_refused(published):
    """`aweigh.json` and the manifest must list the same files."""

    index = json.loads((published.folder / "index.json").read_bytes())
    blobs = published.folder / "blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_bytes())
    manifest["layers"][1]["annotations"]["org.cncf.model.filepath"] = "../../evil"

    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    index["manifests"][0] |= {"digest": f"sha256:{digest}", "size": len(data)}
    (published.folder / "index.json").write_bytes(json.dumps(index).encode())
    with pytest.raises(InvalidFile, match=r"disagree about '\.\./\.\./evil'"):
        published.open(parse_reference("fraud"))


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:abc", ""])
def test_a_digest_that_is_none_is_refused(published, digest):

    path = published.folder / "index.json"
    index = json.loads(path.read_bytes())
    index["manifests"][0]["digest"] = digest
    path.write_bytes(json.dumps(index).encode())
    with pytest.raises(InvalidFile, match="is not a digest"):
        published.open(parse_reference("fraud"))
