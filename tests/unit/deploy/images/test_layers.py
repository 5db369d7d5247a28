"""Layers: the same files give the same bytes, and no path or link leads out."""

import os
import tarfile
import time
from pathlib import Path

import pytest

from aweigh.core.errors import InvalidInput
from aweigh.deploy.images.layers import Content, Layers, Link
from aweigh.deploy.images.payload import Compiler

FILES: dict[str, Content] = {"app/b.py": b"b = 1\n", "app/a.py": b"a = 1\n", "models/blob": b"weights", "models/view": Link("models/blob")}


def test_the_same_files_give_the_same_bytes_whatever_the_order_time_and_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Layers(tmp_path / "one").make("key", lambda: FILES, created_by="x")
    monkeypatch.setattr(time, "time", lambda: 1e9)
    before = os.umask(0o077)
    try:
        second = Layers(tmp_path / "two").make("key", lambda: dict(reversed(FILES.items())), created_by="y")
    finally:
        os.umask(before)
    assert (first.digest, first.diff_id) == (second.digest, second.diff_id)
    assert first.path.read_bytes() == second.path.read_bytes()


def test_what_is_in_it(tmp_path: Path) -> None:
    layer = Layers(tmp_path, epoch=7).make("key", lambda: FILES, created_by="x", folders=["app"])
    with tarfile.open(layer.path) as archive:
        found = {member.name: member for member in archive}
    assert list(found) == ["models", "app/a.py", "app/b.py", "models/blob", "models/view"], "folders that are below are not made again"
    assert {(member.uid, member.gid, member.uname, member.mtime) for member in found.values()} == {(0, 0, "", 7)}
    assert (found["models"].mode, found["app/a.py"].mode) == (0o755, 0o644)
    assert found["models/view"].islnk()
    assert found["models/view"].linkname == "models/blob"


def test_a_layer_that_is_kept_is_not_made_again_and_a_damaged_one_is(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    layer = layers.make("key", lambda: FILES, created_by="x")

    def never() -> dict[str, Content]:
        raise AssertionError

    assert layers.make("key", never, created_by="x") == layer
    layer.path.chmod(0o644)
    layer.path.write_bytes(b"x" * layer.size_bytes)
    assert layers.make("key", lambda: FILES, created_by="x") == layer
    assert layer.path.read_bytes()[:2] == b"\x1f\x8b"


def test_what_was_made_above_other_folders_is_another_layer(tmp_path: Path) -> None:
    """A base with /app, built on before, must not decide what is built on one without it."""
    shared = Layers(tmp_path / "shared")
    first = shared.make("key", lambda: FILES, created_by="x", folders=["app", "usr"])
    second = shared.make("key", lambda: FILES, created_by="x", folders=["usr"])
    alone = Layers(tmp_path / "alone").make("key", lambda: FILES, created_by="x", folders=["usr"])
    assert second.digest == alone.digest != first.digest


def test_another_patch_release_of_the_interpreter_is_another_key(tmp_path: Path) -> None:
    keys = set()
    for release in ("3.11.7", "3.11.9", "3.11.7"):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\necho CPython {release}\n")
        program.chmod(0o755)
        keys.add(Compiler(python=(3, 11), interpreter=str(program)).key)
    assert len(keys) == 2


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\nb", "a\\b", "", ".wh.etc", "a/.wh..wh..opq"])
def test_paths_that_lead_elsewhere_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        Layers(tmp_path).make("key", lambda: {path: b""}, created_by="x")
    assert not list((tmp_path / "blobs").iterdir()), "nothing is left"


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "absent"):
        with pytest.raises(InvalidInput, match=name):
            Layers(tmp_path / "cache").make(name, lambda name=name: {"x": tmp_path / name}, created_by="x")  # type: ignore[misc]
