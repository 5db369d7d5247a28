"""Packages as one file: what is written, and every hostile form of tar that must not be read."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from aweigh.core.errors import AweighError, Conflict, FileMissing, InvalidFile, NotTrusted, StoreUnavailable, TooLarge
from aweigh.core.names import alias_name, model_name, parse_reference
from aweigh.store import Archive, Store, export_archive
from aweigh.store.tarfiles import MAX_ENTRIES, TarFile

MODEL = "variants/onnx/model.onnx"


@pytest.fixture
def archive(store, make_draft, name, tmp_path):
    """An exported package."""
    file = tmp_path / "fraud.tar"
    export_archive(store.publish(name, make_draft()), file)
    return file


@pytest.fixture
def other(tmp_path):
    return Store(tmp_path / "other", lock_timeout_s=5.0)


def members(file):
    with tarfile.open(file) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar.getmembers()}


def tar_of(file, entries):
    """Write entries: (name, bytes) or a TarInfo, in order."""
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))


def tree(folder):
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob("*"))


def take(store, file, terms, name="fraud"):
    with Archive(file) as opened:
        return store.adopt(model_name(name), opened.offer(), terms)


def test_the_same_package_gives_the_same_bytes(store, archive, tmp_path):
    os.utime(archive, (1, 1))
    again = tmp_path / "again.tar"
    digest = export_archive(store.open(parse_reference("fraud:1")), again)
    assert again.read_bytes() == archive.read_bytes()
    assert digest == "sha256:" + hashlib.sha256(again.read_bytes()).hexdigest()
    with tarfile.open(again) as tar:
        assert {(info.mtime, info.uid, info.gid, info.uname, info.mode, info.isreg()) for info in tar} == {(0, 0, 0, "", 0o644, True)}


def test_an_import_has_the_same_digest_and_files(store, archive, other, terms):
    package = take(other, archive, terms)
    assert package.digest == store.open(parse_reference("fraud")).digest
    package.verify()
    assert package.path(MODEL).read_bytes() == b"weights"
    (line,) = other.list()
    assert (str(line.reference), line.origin, line.verdict) == ("fraud:1", "a test", store.list()[0].verdict)
    assert line.size_bytes == store.list()[0].size_bytes


def test_importing_twice_gives_one_version(archive, other, terms):
    assert take(other, archive, terms).reference == take(other, archive, terms).reference
    assert len(other.list()) == 1
    assert str(take(other, archive, terms, "copy").reference) == "copy:1"


def test_a_version_keeps_its_number_where_that_is_free(store, make_draft, name, other, terms, tmp_path):
    for weights in (b"1", b"2", b"3"):
        store.publish(name, make_draft(weights))
    for version in (2, 3, 1):
        export_archive(store.open(parse_reference(f"fraud:{version}")), tmp_path / f"{version}.tar")
    assert [take(other, tmp_path / f"{version}.tar", terms).reference.version for version in (2, 3, 1)] == [2, 3, 4]


def test_no_archive_uses_up_the_numbers_of_a_name(archive, other, terms):
    with Archive(archive) as opened:
        offer = dataclasses.replace(opened.offer(), version=999_999_999)
        assert other.adopt(model_name("fraud"), offer, terms).reference.version == 1


def test_a_damaged_version_is_mended_by_importing_it_again(store, archive, other, terms):
    package = take(other, archive, terms)
    other.set_alias(model_name("fraud"), alias_name("champion"), 1)
    for file in package.manifest.files[:2]:
        blob = package.blobs.path(file.digest)
        blob.chmod(0o644)
        blob.write_bytes(b"x")
    package.blobs.path(package.digest).unlink()
    assert not other.check().whole
    assert str(take(other, archive, terms).reference) == "fraud:1"
    assert other.check().whole
    assert other.aliases(model_name("fraud")) == {"champion": 1}


def test_terms_are_asked_before_files_are_fetched_and_before_anyone_can_see_it(archive, other, terms):
    fetched = []

    def refuse(_):
        raise NotTrusted("no")

    def judge(package):
        package.verify()
        assert other.list() == []
        raise Conflict("judged")

    with Archive(archive) as opened:
        whole = opened.offer()

        def fetch(digest, size):
            fetched.append(size)
            return whole.fetch(digest, size)

        offer = dataclasses.replace(whole, fetch=fetch)
        with pytest.raises(NotTrusted):
            other.adopt(model_name("fraud"), offer, dataclasses.replace(terms, permit=refuse))
        assert len(fetched) == 2, "the config and aweigh.json, nothing more"
        with pytest.raises(Conflict):
            other.adopt(model_name("fraud"), offer, dataclasses.replace(terms, judge=judge))
    assert other.list() == []


def test_an_export_of_a_damaged_package_leaves_no_file(store, make_draft, name, tmp_path):
    package = store.publish(name, make_draft())
    blob = package.blobs.path(package.manifest.files[0].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    with pytest.raises(InvalidFile):
        export_archive(package, tmp_path / "x.tar")
    with pytest.raises(StoreUnavailable, match="cannot write"):
        export_archive(package, tmp_path / "absent" / "x.tar")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_an_export_that_is_interrupted_leaves_the_old_file_and_no_other(store, make_draft, name, tmp_path):
    file = tmp_path / "x.tar"
    file.write_bytes(b"old")

    def interrupt(step, done=0, total=0):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_archive(store.publish(name, make_draft()), file, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.tar"]
    assert file.read_bytes() == b"old"


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


BLOB = "blobs/sha256/" + "0" * 64
HOSTILE = {
    "parent": [("../evil", b"x")],
    "absolute": [("/etc/evil", b"x")],
    "inside": [("blobs/sha256/../../../evil", b"x")],
    "backslash": [("blobs\\sha256\\x", b"x")],
    "NUL": [("index.json\0.txt", b"x")],
    "symbolic link": [link("blobs", tarfile.SYMTYPE, "/tmp"), ("blobs/sha256/x", b"x")],
    "link at a blob": [link(BLOB, tarfile.SYMTYPE, "/etc/passwd")],
    "hard link": [link(BLOB, tarfile.LNKTYPE, "index.json")],
    "device": [link(BLOB, tarfile.CHRTYPE, "")],
    "block device": [link(BLOB, tarfile.BLKTYPE, "")],
    "pipe": [link(BLOB, tarfile.FIFOTYPE, "")],
    "long name": [("a" * 300, b"x")],
    "twice": [("index.json", b"{}")],
    "case twin": [("INDEX.JSON", b"{}")],
    "another file": [("manifest.json", b"[]")],
    "upper-case digest": [("blobs/sha256/" + "A" * 64, b"x")],
    "not ASCII": [("ind\u00e9x.json", b"x")],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_entries(archive, other, terms, tmp_path, case):
    file = tmp_path / "hostile.tar"
    good = [(name, data) for name, data in members(archive).items()]
    before = tree(tmp_path)
    for entries in ([*good, *HOSTILE[case]], [*HOSTILE[case], *good]):
        tar_of(file, entries)
        with pytest.raises((InvalidFile, TooLarge)) as caught:
            take(other, file, terms)
        assert str(file) in caught.value.message
        file.unlink()
    assert tree(tmp_path) == before


def changed(archive, file, change):
    """A copy of the archive with its index, manifest or blobs changed; digests are made right again where the index names them."""
    held = members(archive)
    index = json.loads(held["index.json"])
    entry = index["manifests"][0]
    manifest_name = "blobs/sha256/" + entry["digest"].removeprefix("sha256:")
    manifest = json.loads(held.pop(manifest_name))
    change(index, manifest, held)
    data = json.dumps(manifest).encode()
    if index["manifests"] and index["manifests"][0] is entry and not entry.get("kept"):
        entry["digest"], entry["size"] = "sha256:" + hashlib.sha256(data).hexdigest(), len(data)
    held["blobs/sha256/" + hashlib.sha256(data).hexdigest()] = data
    held["index.json"] = json.dumps(index).encode()
    tar_of(file, held.items())
    return file


def _layer(manifest, at=-1):
    return manifest["layers"][at]


CHANGES = {
    "a path that leaves": lambda index, manifest, held: _layer(manifest)["annotations"].update({"org.cncf.model.filepath": "../../evil"}),
    "two layers of one path": lambda index, manifest, held: manifest["layers"].append({**_layer(manifest)}),
    "a foreign layer": lambda index, manifest, held: _layer(manifest).update(urls=["http://169.254.169.254/x"]),
    "a digest that is none": lambda index, manifest, held: _layer(manifest).update(digest="sha256:../../../etc/passwd"),
    "another digest algorithm": lambda index, manifest, held: _layer(manifest).update(digest="sha512:" + "0" * 128),
    "a size below zero": lambda index, manifest, held: _layer(manifest).update(size=-1),
    "a size above all": lambda index, manifest, held: _layer(manifest).update(size=2**62),
    "a size that lies": lambda index, manifest, held: _layer(manifest).update(size=_layer(manifest)["size"] + 1),
    "two sizes": lambda index, manifest, held: manifest["config"].update(digest=_layer(manifest)["digest"], size=1),
    "a document that is too large": lambda index, manifest, held: manifest["config"].update(size=2**40),
    "two packages": lambda index, manifest, held: manifest["layers"].append(
        {**_layer(manifest, 0), "annotations": {"org.cncf.model.filepath": "other"}}
    ),
    "no package": lambda index, manifest, held: manifest["layers"].pop(0),
    "a layer more": lambda index, manifest, held: manifest["layers"].append(
        {**_layer(manifest), "annotations": {"org.cncf.model.filepath": "more"}}
    ),
    "a layer less": lambda index, manifest, held: manifest["layers"].pop(),
    "100,000 layers": lambda index, manifest, held: manifest["layers"].extend([_layer(manifest)] * 100_000),
    "an index as manifest": lambda index, manifest, held: manifest.update(mediaType="application/vnd.oci.image.index.v1+json"),
    "another schema": lambda index, manifest, held: manifest.update(schemaVersion=1),
    "no package at all": lambda index, manifest, held: index["manifests"].clear(),
    "several in one": lambda index, manifest, held: index["manifests"].append({**index["manifests"][0], "digest": "sha256:" + "0" * 64}),
    "an index digest that is a path": lambda index, manifest, held: index["manifests"][0].update(digest="sha256:../x", kept=1),
    "an index digest that is not there": lambda index, manifest, held: index["manifests"][0].update(digest="sha256:" + "0" * 64, kept=1),
}


@pytest.mark.parametrize("case", CHANGES)
def test_hostile_manifests(archive, other, terms, tmp_path, case):
    file = changed(archive, tmp_path / "changed.tar", CHANGES[case])
    with pytest.raises((InvalidFile, TooLarge, StoreUnavailable)):
        take(other, file, terms)
    assert other.list() == []
    assert other.check().whole
    assert not list(tmp_path.rglob("evil"))


def test_every_flipped_byte_of_a_blob_is_found(archive, other, terms, tmp_path):
    data = bytearray(archive.read_bytes())
    with TarFile(archive) as tar:
        entries = tar.entries
    for name, entry in entries.items():
        if name.startswith("blobs/"):
            data[entry.offset] ^= 1
            (tmp_path / "flipped.tar").write_bytes(data)
            with pytest.raises(InvalidFile):
                take(other, tmp_path / "flipped.tar", terms)
            data[entry.offset] ^= 1
    assert other.list() == []


def test_truncated_anywhere(archive, other, terms, tmp_path):
    data = archive.read_bytes()
    for cut in (0, 1, 511, 512, 700, 1024, 5000, len(data) // 2, len(data) - 1025):
        (tmp_path / "cut.tar").write_bytes(data[:cut])
        with pytest.raises(InvalidFile):
            take(other, tmp_path / "cut.tar", terms)
    assert other.list() == []


def test_compressed_and_other_files_are_named_for_what_they_are(archive, tmp_path):
    packed = tmp_path / "x.tar.gz"
    packed.write_bytes(gzip.compress(archive.read_bytes()))
    with pytest.raises(InvalidFile) as caught:
        Archive(packed)
    assert "gzip" in caught.value.hint
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr("index.json", b"0" * 2000)
    for file in (tmp_path / "x.zip", tmp_path, tmp_path / "pipe"):
        if file.name == "pipe":
            os.mkfifo(file)
        with pytest.raises(InvalidFile):
            Archive(file)
    with pytest.raises(FileMissing):
        Archive(tmp_path / "absent.tar")


def test_a_million_entries_end_early(tmp_path):
    info = tarfile.TarInfo("x")
    file = tmp_path / "many.tar"
    with file.open("wb") as stream:
        for at in range(MAX_ENTRIES + 2):
            info.name = f"blobs/sha256/{at:064x}"
            stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.write(b"\0" * 1024)
    with pytest.raises(TooLarge, match=str(MAX_ENTRIES)):
        Archive(file)


def test_sizes_of_eight_gigabytes_and_more_are_read(tmp_path):
    info = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
    info.size = 9 * 2**30
    file = tmp_path / "large.tar"
    with file.open("wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.truncate(512 + info.size)  # sparse: takes no space
        stream.seek(512 + info.size)
        stream.write(b"\0" * 1024)
    with TarFile(file) as tar:
        assert [entry.size_bytes for entry in tar.entries.values()] == [info.size]


def test_no_descriptor_is_left_open(archive, tmp_path):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    before = descriptors()
    for _ in range(3):
        with pytest.raises(AweighError):
            Archive(tmp_path / "bad.tar")
        with Archive(archive) as opened:
            opened.offer()
    assert descriptors() == before
