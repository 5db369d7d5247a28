"""A quota, and a disk that is full before the first byte."""

import os
import shutil
import time
from types import SimpleNamespace

import pytest

from aweigh.core.errors import InvalidFile, StoreUnavailable
from aweigh.core.names import Digest, parse_reference
from aweigh.store import Store


def test_a_publication_beyond_the_quota_fails_cleanly(store, make_draft, name):
    store.publish(name, make_draft(b"1"))
    used = sum(path.stat().st_size for path in (store.folder / "blobs/sha256").iterdir())
    tight = Store(store.folder, quota_bytes=used + 10_000)
    with pytest.raises(StoreUnavailable) as caught:
        tight.publish(name, make_draft(b"2" * 20_000))
    assert f"of its quota of {used + 10_000}" in caught.value.message
    assert "store_quota_bytes" in caught.value.hint
    assert len(tight.list()) == 1
    assert not list(store.folder.rglob(".tmp-*"))
    tight.publish(name, make_draft(b"1"))  # blobs that are there take no room
    assert str(tight.publish(name, make_draft(b"2" * 2000)).reference) == "fraud:3"


def test_room_comes_back_by_collection(store, make_draft, name):
    store.publish(name, make_draft(b"1" * 50_000))
    tight = Store(store.folder, quota_bytes=80_000)
    with pytest.raises(StoreUnavailable):
        tight.publish(name, make_draft(b"2" * 50_000))
    tight.remove(parse_reference("fraud:1"))
    then = time.time() - 7200
    for path in tight.folder.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)
    tight.collect()
    tight.publish(name, make_draft(b"2" * 50_000))


def test_a_peer_cannot_fill_the_disk(store, make_draft, name):
    package = store.publish(name, make_draft())
    blobs, digest = package.blobs, Digest("sha256:" + "0" * 64)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield b"x" * 1000

    with pytest.raises(InvalidFile, match="more than the 2500 bytes"):
        blobs.receive(digest, 2500, endless(), place="peer")
    assert len(taken) == 3
    with pytest.raises(StoreUnavailable, match="its disk has"):
        blobs.receive(digest, 2**62, endless(), place="peer")
    assert len(taken) == 3, "not one byte is taken of what cannot fit"
    assert not list(store.folder.rglob(".tmp-*"))


def test_a_blob_that_is_on_the_disk_needs_no_second_room_there(store, make_draft, name, monkeypatch):
    """A disk of 100 kB, a quota far beyond it, and a model of more than half the disk."""
    store.publish(name, make_draft(b"1"))

    def usage(folder):
        return SimpleNamespace(free=100_000 - sum(path.stat().st_size for path in folder.iterdir()))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    generous = Store(store.folder, quota_bytes=10**9)
    package = generous.publish(name, make_draft(b"2" * 60_000))
    package.verify()
    with pytest.raises(StoreUnavailable, match="its disk has"):
        package.blobs.receive(Digest("sha256:" + "0" * 64), 60_000, iter(()), place="peer")
