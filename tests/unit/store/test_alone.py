"""One package alone, as an image holds it: whole to a reader who may write nowhere, and without what the chosen variants do not need."""

import os
from pathlib import Path

import msgspec
import pytest
from tests.stores.drafts import MakeDraft

from aweigh.core.errors import InvalidFile
from aweigh.core.names import ModelName, parse_reference
from aweigh.store import Store
from aweigh.store.alone import Alone, alone


def write(kept: Alone, home: Path) -> Store:
    for path, content in kept.files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    for path, to in kept.links.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(home / to, home / path)
    return Store(home / "store")


def test_a_reader_finds_the_package_under_its_name_and_digest(store: Store, name: ModelName, make_draft: MakeDraft, tmp_path: Path) -> None:
    package = store.publish(name, make_draft(b"the weights"))
    variant = package.manifest.variants[0]
    found = write(alone(package, [variant]), tmp_path / "home").open(parse_reference("fraud"))
    assert (found.digest, found.reference) == (package.digest, package.reference)
    before = sorted((tmp_path / "home").rglob("*"))
    assert found.path(variant.files[0]).read_bytes() == b"the weights"
    assert found.path(found.manifest.cases[0].file).exists()
    assert sorted((tmp_path / "home").rglob("*")) == before, "nothing had to be written"


def test_what_other_variants_need_is_left_out(store: Store, name: ModelName, make_draft: MakeDraft, tmp_path: Path) -> None:
    draft = make_draft()
    first = draft.manifest.variants[0]
    other = msgspec.structs.replace(first, name="other", files=("variants/other/large.onnx",))
    changed = msgspec.structs.replace(draft.manifest, variants=(first, other))
    package = store.publish(name, type(draft)(manifest=changed, files={**draft.files, "variants/other/large.onnx": b"large"}))
    kept = alone(package, [first])
    assert not [path for path in kept.links if "other" in path]
    found = write(kept, tmp_path / "home").open(parse_reference("fraud"))
    with pytest.raises(InvalidFile):
        found.path("variants/other/large.onnx")


def test_only_this_version_is_told_of(store: Store, name: ModelName, make_draft: MakeDraft) -> None:
    store.publish(name, make_draft(b"one"))
    package = store.publish(name, make_draft(b"two"))
    index = alone(package, package.manifest.variants).files["store/index.json"]
    assert isinstance(index, bytes)
    assert b'"fraud:2"' in index
    assert b'"fraud:1"' not in index
