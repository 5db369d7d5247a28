"""By what a later search knows an earlier one's results again: whatever decides them, and no version's number."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.stores.drafts import small_draft

from aweigh.app.optimize_data import Data
from aweigh.app.optimize_host import Host
from aweigh.app.optimize_keys import search_key
from aweigh.core.evidence import Strength
from aweigh.core.names import model_name
from aweigh.core.protocols import Draft
from aweigh.isolate import Caps, Environments
from aweigh.optimization.material import split
from aweigh.store import Store, StoredPackage

GOLDEN = "golden/sample.tensors"


def rows(value: float = 1.0, **more: Any) -> Data:
    said = {
        "source": "rows.npy",
        "tensors": {"x": np.full((4, 2), value)},
        "right": None,
        "split": split(4),
        "strength": Strength.FULL,
        **more,
    }
    return Data(**said)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def published(store: Store, draft: Draft, **files: bytes) -> StoredPackage:
    return store.publish(model_name("fraud"), Draft(manifest=draft.manifest, files={**draft.files, **files}))


def test_the_version_that_a_search_published_is_gone_on_from(store: Store, tmp_path: Path) -> None:
    draft = small_draft()
    first = published(store, draft)
    added = msgspec.structs.replace(draft.manifest.variants[0], name="quick", evidence=None)
    timed = msgspec.structs.replace(draft.manifest.variants[0], evidence=None)
    manifest = msgspec.structs.replace(draft.manifest, variants=(timed, *draft.manifest.variants[1:], added))
    second = published(store, Draft(manifest=manifest, files=draft.files), **{"optimization.json": b"{}"})
    assert first.digest != second.digest
    assert search_key(first, rows(), "") == search_key(second, rows(), "")

    def own(package: StoredPackage) -> str:
        host = Host(handle=package, environments=Environments(tmp_path / "environments"), caps=Caps(), data=rows())
        return host._own(package.manifest.variants[0]).key

    assert own(first) == own(second)
    assert own(published(store, small_draft(b"other weights"))) != own(first)


def test_what_decides_is_in_the_key(store: Store) -> None:
    draft = small_draft()
    package = published(store, draft)
    labelled = msgspec.structs.replace(draft.manifest.signature, labels=("a", "b"))
    keys = [
        search_key(package, rows(), ""),
        search_key(published(store, draft, **{GOLDEN: b"other answers"}), rows(), ""),
        search_key(published(store, small_draft(signature=labelled)), rows(), ""),
        search_key(package, rows(2.0), ""),
        search_key(package, rows(right=[0, 1, 0, 1]), ""),
        search_key(package, rows(right=[0, 1, 1, 1]), ""),
        search_key(package, rows(source="others.npy"), ""),
        search_key(package, rows(strength=Strength.WEAK), ""),
        search_key(package, rows(), "threads=2"),
    ]
    assert len(set(keys)) == len(keys)
