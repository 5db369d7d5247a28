"""B.3 17: a publication is killed at each of its steps, and around each of its fsyncs: the store opens, the version is absent or complete."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.stores.drafts import small_draft
from tests.stores.killed import Outcomes, check, walk, walk_syncs

from aweigh.core.names import alias_name, model_name
from aweigh.store import Archive, Store, Terms, export_archive

NAME = model_name("fraud")
Walk = Callable[..., Outcomes]
pytestmark = pytest.mark.parametrize("walked", [walk, walk_syncs], ids=["steps", "fsyncs"])


def nothing(store: Store) -> None:
    """The store begins empty."""


def test_17_a_publication_that_is_killed_is_absent_or_complete(tmp_path: Path, walked: Walk) -> None:
    outcomes = walked(tmp_path, nothing, lambda store: store.publish(NAME, small_draft()))
    assert len(outcomes) > 30
    held = [names for _, names in outcomes]
    assert held[0] == []
    assert held[-1] == ["fraud:1"]
    assert held == sorted(held), "once it is there it stays"
    for store, names in outcomes[::3]:
        published = store.publish(NAME, small_draft(b"next"))
        assert published.reference.version == len(names) + 1
        assert check(store) == [*names, str(published.reference)]
        assert store.check().whole


def test_17_a_second_publication_that_is_killed_loses_nothing(tmp_path: Path, walked: Walk) -> None:
    def prepare(store: Store) -> None:
        store.publish(NAME, small_draft())
        store.set_alias(NAME, alias_name("champion"), 1)

    for store, names in walked(tmp_path, prepare, lambda store: store.publish(NAME, small_draft(b"2"))):
        assert names in (["fraud:1"], ["fraud:1", "fraud:2"])
        assert store.aliases(NAME) == {"champion": 1}
        for path in store.folder.rglob(".tmp-*"):
            os.utime(path, (0, 0))  # as if long ago: what a publication under way has written is nobody's to take
        store.collect(grace_s=-10)  # what the killed one left behind goes, and nothing else
        assert check(store) == names
        assert {path.name for path in store.folder.rglob(".tmp-*")} == set()


def test_17_an_import_that_is_killed_is_absent_or_complete(tmp_path: Path, walked: Walk) -> None:
    file = tmp_path / "fraud.tar"
    export_archive(Store(tmp_path / "source").publish(NAME, small_draft(b"1")), file)
    terms = Terms(permit=lambda manifest: None, judge=lambda package: None, origin="a test")

    def work(store: Store) -> None:
        with Archive(file) as archive:
            store.adopt(NAME, archive.offer(), terms)

    outcomes = walked(tmp_path / "stores", lambda store: store.publish(NAME, small_draft(b"2")), work)
    held = [names for _, names in outcomes]
    assert held[0] == ["fraud:1"]
    assert held[-1] == ["fraud:1", "fraud:2"]
    assert held == sorted(held)
    for store, _ in outcomes[::3]:
        assert store.check().whole
        work(store)
        assert check(store) == ["fraud:1", "fraud:2"]
