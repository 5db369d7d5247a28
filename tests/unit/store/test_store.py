import dataclasses
from pathlib import Path

import msgspec
import pytest

from aweigh.core.errors import Conflict, FileMissing, InvalidInput, InvalidName, ModelNotFound
from aweigh.core.names import alias_name, model_name, parse_reference
from aweigh.core.package import PackageFile
from aweigh.core.protocols import PackageHandle, PackageSource, Publisher
from aweigh.store import Store

MODEL = "variants/onnx/model.onnx"


def reference(text: str):
    return parse_reference(text)


def test_the_store_is_what_other_stages_expect_of_it(store, make_draft, name):
    source: PackageSource = store
    publisher: Publisher = store
    published: PackageHandle = publisher.publish(name, make_draft())
    assert source.open(reference("fraud")).digest == published.digest


def test_reading_a_store_that_is_not_there_creates_nothing(store, tmp_path, name):
    assert store.list() == []
    assert store.collect().blobs == 0
    with pytest.raises(ModelNotFound) as caught:
        store.open(reference("fraud"))
    assert "the store is empty" in caught.value.hint
    with pytest.raises(ModelNotFound):
        store.set_alias(name, alias_name("champion"), 1)
    with pytest.raises(ModelNotFound):
        store.remove(reference("fraud:1"))
    assert list(tmp_path.iterdir()) == []


def test_versions_count_up_and_the_newest_answers_to_the_bare_name(store, make_draft, name):
    assert [str(store.publish(name, make_draft(bytes([n]))).reference) for n in range(3)] == ["fraud:1", "fraud:2", "fraud:3"]
    assert str(store.open(reference("fraud")).reference) == "fraud:3"
    assert str(store.open(reference("fraud:2")).reference) == "fraud:2"


def test_what_was_published_comes_back(store, make_draft, name, tmp_path):
    source = tmp_path / "big.bin"
    source.write_bytes(b"x" * 100_000)
    draft = make_draft()
    files = {**draft.files, MODEL: source}
    package = store.publish(name, dataclasses.replace(draft, files=files))
    assert package.path(MODEL).read_bytes() == source.read_bytes()
    for file, content in draft.files.items():
        if file != MODEL:
            assert package.path(file).read_bytes() == content
    assert msgspec.structs.replace(package.manifest, files=()) == draft.manifest
    assert package.size_bytes == sum(file.size_bytes for file in package.manifest.files)
    package.verify()


def test_the_files_of_a_variant_lie_side_by_side_under_their_own_names(store, make_draft, name):
    path = store.publish(name, make_draft()).path(MODEL)
    assert path.name == "model.onnx"
    assert path.with_name("model.onnx.data").read_bytes() == b"content of variants/onnx/model.onnx.data"
    assert path.stat().st_nlink == 2, "a hard link to the blob, not a copy"
    assert path.stat().st_mode & 0o777 == 0o444


def test_the_same_package_has_the_same_digest_under_any_name_and_in_any_store(store, make_draft, tmp_path):
    one = store.publish(model_name("one"), make_draft())
    two = Store(tmp_path / "other").publish(model_name("two"), make_draft())
    assert one.digest == two.digest
    assert store.publish(model_name("one"), make_draft(b"changed")).digest != one.digest


def test_versions_share_the_blobs_they_have_in_common(store, make_draft, name):
    store.publish(name, make_draft(b"1"))
    blobs = {path.name for path in (store.folder / "blobs/sha256").iterdir()}
    store.publish(name, make_draft(b"2"))
    new = {path.name for path in (store.folder / "blobs/sha256").iterdir()} - blobs
    assert len(new) == 4, "weights, aweigh.json, config and manifest"


def test_the_list_tells_each_version_without_reading_it(store, make_draft, name):
    store.publish(name, make_draft())
    store.publish(model_name("anomaly"), make_draft(b"other"))
    store.set_alias(name, alias_name("champion"), 1)
    for blob in (store.folder / "blobs/sha256").iterdir():
        blob.unlink()
    first, second = store.list()
    assert (first.name, first.aliases) == ("anomaly", ())
    assert str(second.reference) == "fraud:1"
    assert second.aliases == ("champion",)
    assert second.packed_at == "2026-01-02T03:04:05Z"
    assert (second.runtime, second.task, second.verdict) == ("onnxruntime", "classification", "proven")
    assert second.size_bytes > 0
    assert second.digest.startswith("sha256:")


def test_the_verdict_is_that_of_the_first_variant(store, make_draft, name):
    variant = make_draft().manifest.variants[0]
    weak = msgspec.structs.replace(variant.evidence, strength="weak")
    cases = {
        "unproven": msgspec.structs.replace(variant, evidence=None),
        "weak": msgspec.structs.replace(variant, evidence=msgspec.convert(msgspec.to_builtins(weak), type(weak))),
        "failed": msgspec.structs.replace(variant, evidence=msgspec.structs.replace(variant.evidence, passed=False)),
    }
    for changed in cases.values():
        store.publish(name, make_draft(variants=(changed,)))
    store.publish(name, make_draft(variants=()))
    assert [line.verdict for line in store.list()] == [*cases, "unproven"]


def test_a_draft_that_was_begun_before_another_version_came_is_told_so(store, make_draft, name):
    assert store.publish(name, make_draft(b"1"), newest=0).reference.version == 1
    assert store.publish(name, make_draft(b"2"), newest=1).reference.version == 2
    with pytest.raises(Conflict, match="fraud:2 was published meanwhile"):
        store.publish(name, make_draft(b"3"), newest=1)
    assert [each.version for each in store.list()] == [1, 2]
    store.remove(reference("fraud:2"))
    assert store.publish(name, make_draft(b"3"), newest=1).reference.version == 3


def test_an_alias_moves_and_goes(store, make_draft, name):
    for weights in (b"1", b"2"):
        store.publish(name, make_draft(weights))
    champion = alias_name("champion")
    assert store.aliases(name) == {}
    store.set_alias(name, champion, 1)
    assert str(store.open(reference("fraud@champion")).reference) == "fraud:1"
    store.set_alias(name, champion, 2)
    store.set_alias(name, alias_name("stable"), 1)
    assert store.aliases(name) == {"champion": 2, "stable": 1}
    store.remove_alias(name, champion)
    assert store.aliases(name) == {"stable": 1}
    with pytest.raises(ModelNotFound, match="no alias 'champion'"):
        store.remove_alias(name, champion)


def test_a_new_version_leaves_aliases_and_other_models_alone(store, make_draft, name):
    store.publish(name, make_draft())
    store.publish(model_name("other"), make_draft())
    store.set_alias(name, alias_name("champion"), 1)
    store.publish(name, make_draft(b"2"))
    assert store.aliases(name) == {"champion": 1}
    assert [str(line.reference) for line in store.list()] == ["fraud:1", "fraud:2", "other:1"]


def test_a_removed_number_is_never_used_again(store, make_draft, name):
    for weights in (b"1", b"2"):
        store.publish(name, make_draft(weights))
    assert str(store.remove(reference("fraud:2"))) == "fraud:2"
    assert str(store.publish(name, make_draft(b"3")).reference) == "fraud:3"
    store.remove(reference("fraud:3"))
    assert str(store.remove(reference("fraud"))) == "fraud:1", "one version is left: the bare name means it"
    assert store.list() == []
    assert str(store.publish(name, make_draft(b"4")).reference) == "fraud:4"


def test_a_bare_name_of_several_versions_is_not_removed(store, make_draft, name):
    for weights in (b"1", b"2"):
        store.publish(name, make_draft(weights))
    with pytest.raises(InvalidInput, match="'fraud' has versions 1, 2: say which one"):
        store.remove(reference("fraud"))


def test_a_version_with_an_alias_is_removed_only_by_force(store, make_draft, name):
    store.publish(name, make_draft())
    store.set_alias(name, alias_name("champion"), 1)
    with pytest.raises(Conflict, match="fraud:1 is named by 'fraud@champion'"):
        store.remove(reference("fraud@champion"))
    assert store.aliases(name) == {"champion": 1}
    store.remove(reference("fraud:1"), force=True)
    assert store.list() == []
    assert str(store.publish(name, make_draft()).reference) == "fraud:2"
    assert store.aliases(name) == {}


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ("frad", "there is no model 'frad'", "did you mean 'fraud'? 'aweigh models' lists all"),
        ("zebra", "there is no model 'zebra'", "'aweigh models' lists what there is"),
        ("fraud:7", "there is no version 7 of 'fraud'", "'fraud' has versions 1, 2"),
        ("other:2", "there is no version 2 of 'other'", "'other' has version 1"),
        ("fraud@next", "'fraud' has no alias 'next'", "there is 'fraud@champion'"),
        ("other@next", "'other' has no alias 'next'", "'other' has no aliases; it has version 1"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(store, make_draft, name, asked, message, hint):
    store.publish(name, make_draft(b"1"))
    store.publish(name, make_draft(b"2"))
    store.publish(model_name("other"), make_draft())
    store.set_alias(name, alias_name("champion"), 1)
    with pytest.raises(ModelNotFound) as caught:
        store.open(reference(asked))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_file_that_the_package_does_not_have(store, make_draft, name):
    package = store.publish(name, make_draft())
    with pytest.raises(FileMissing, match=r"fraud:1 holds no file '\.\./secret'"):
        package.path("../secret")


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../x", "a//b", "a/./b", "C:\\x", "a\0b", "", "x/", ".hidden", "con", "a/NUL.txt", "x" * 600, "e\u0301"],
)
def test_a_draft_with_a_hostile_path_is_refused(store, make_draft, name, path):
    draft = make_draft()
    with pytest.raises(InvalidName):
        store.publish(name, dataclasses.replace(draft, files={**draft.files, path: b"x"}))
    assert store.list() == []


@pytest.mark.parametrize("path", ["variants/onnx", "variants/onnx/MODEL.onnx", "aweigh.json", "variants/onnx/model.onnx/x"])
def test_a_draft_whose_files_cannot_lie_side_by_side_is_refused(store, make_draft, name, path):
    draft = make_draft()
    with pytest.raises(InvalidName):
        store.publish(name, dataclasses.replace(draft, files={**draft.files, path: b"x"}))


def test_a_draft_that_is_not_whole_is_refused(store, make_draft, name):
    draft = make_draft()
    files = {path: content for path, content in draft.files.items() if path != MODEL}
    with pytest.raises(InvalidName, match=r"refers to 'variants/onnx/model\.onnx'"):
        store.publish(name, dataclasses.replace(draft, files=files))
    listed = msgspec.structs.replace(draft.manifest, files=(PackageFile(path="a", digest="sha256:" + "0" * 64, size_bytes=1),))
    with pytest.raises(InvalidInput, match="lists no files"):
        store.publish(name, dataclasses.replace(draft, manifest=listed))
    with pytest.raises(FileMissing):
        store.publish(name, dataclasses.replace(draft, files={**draft.files, MODEL: Path("/nowhere/model.onnx")}))


def test_ten_of_many_versions_are_named(store, make_draft, name):
    draft = make_draft()
    for _ in range(12):
        store.publish(name, draft)
    with pytest.raises(ModelNotFound) as caught:
        store.open(reference("fraud:99"))
    assert caught.value.hint == "'fraud' has versions, 12 of them, the newest 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
