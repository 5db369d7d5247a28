import dataclasses
import os
import time
from pathlib import Path

import pytest

from aweigh.core.errors import InvalidFile
from aweigh.core.names import parse_reference
from aweigh.store import Store

MODEL = "variants/onnx/model.onnx"


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then), follow_symlinks=False)


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.folder / "blobs/sha256").iterdir()}


def test_only_what_no_version_needs_goes(store, make_draft, name):
    store.publish(name, make_draft(b"1")).path(MODEL)
    kept = blobs(store)
    store.publish(name, make_draft(b"2")).path(MODEL)
    assert store.collect(grace_s=0).blobs == 0
    store.remove(parse_reference("fraud:2"))
    age(store.folder, 10)
    collected = store.collect(grace_s=5)
    assert (collected.blobs, collected.views, collected.temporary) == (4, 1, 0)
    assert collected.size_bytes > 0
    assert blobs(store) == kept
    package = store.open(parse_reference("fraud"))
    package.verify()
    assert package.path(MODEL).read_bytes() == b"1"


def test_the_grace_period_counts_from_removal(store, make_draft, name):
    package = store.publish(name, make_draft())
    age(store.folder, 7200)
    store.remove(parse_reference("fraud"))
    assert store.collect().blobs == 0
    assert package.path(MODEL).read_bytes() == b"weights", "who has it open can still load it"
    age(store.folder, 7200)
    assert store.collect().blobs == 8
    assert blobs(store) == set()


def test_leftovers_of_killed_processes_go(store, make_draft, name):
    store.publish(name, make_draft())
    for place in ("blobs/sha256/.tmp-1-a", ".tmp-1-b"):
        (store.folder / place).write_bytes(b"half")
    assert store.collect().temporary == 0
    age(store.folder, 7200)
    assert store.collect().temporary == 2
    store.open(parse_reference("fraud")).verify()


def test_a_publication_that_overlaps_a_collection_is_whole(store, make_draft, name):
    """Blobs that were there when they were looked for, and went before the index was written, are put back."""
    draft = make_draft()
    original = store._changing

    def collected_just_before():
        for path in (store.folder / "blobs/sha256").iterdir():
            path.unlink()
        return original()

    store._changing = collected_just_before
    package = store.publish(name, draft)
    package.verify()
    assert package.path(MODEL).read_bytes() == b"weights"


def test_a_file_that_changes_under_a_publication_becomes_no_version(store, make_draft, name, tmp_path):
    """It was collected before the index was written, and what could be put back is no longer what was described."""
    source = tmp_path / "model.onnx"
    source.write_bytes(b"weights")
    draft = make_draft()
    original = store._changing

    def collected_just_before():
        for path in (store.folder / "blobs/sha256").iterdir():
            path.unlink()
        source.write_bytes(b"changed")
        return original()

    store._changing = collected_just_before
    with pytest.raises(InvalidFile, match=r"model\.onnx changed while it was being published"):
        store.publish(name, dataclasses.replace(draft, files={**draft.files, MODEL: source}))
    assert store.list() == []
