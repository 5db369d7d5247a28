"""Wheels: what is taken out of one, that none writes elsewhere, and that what a cut-off build left in the cache is fetched again."""

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from aweigh.core.errors import InvalidFile
from aweigh.deploy.platforms import LINUX_AMD64, WheelTarget
from aweigh.deploy.requirements import Pin
from aweigh.deploy.wheels import Wheel, fetch_wheels


def wheel(folder: Path, *names: str) -> Wheel:
    path = folder / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return Wheel(name="a", version="1", path=path, digest="")


def test_what_is_taken_out(tmp_path: Path) -> None:
    taken = wheel(
        tmp_path,
        "a/b.py", "a/__init__.py", "a/c.so", "a/__pycache__/b.cpython-311.pyc", "a/b.pyi", "a/d.h", "a/tests/test_b.py", "a/tests/_given.py",
        "a-1.dist-info/METADATA", "a-1.dist-info/RECORD", "a-1.data/purelib/late.py", "a-1.data/scripts/run", "a-1.data/data/etc/x",
    )  # fmt: skip
    assert [path for path, _ in taken.files()] == [
        "a-1.dist-info/METADATA",
        "a/__init__.py",
        "a/b.py",
        "a/c.so",
        "a/tests/_given.py",
        "late.py",
    ]


@pytest.mark.parametrize("name", ["../evil.py", "/etc/cron", "a/../../evil", "a\\..\\evil", "a\nb.py", "a-1.data/purelib/../../evil"])
def test_a_wheel_that_writes_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile):
        list(wheel(tmp_path, name).files())


def test_what_is_no_wheel_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(InvalidFile, match=r"a\.whl"):
        list(Wheel(name="a", version="1", path=tmp_path / "a.whl", digest="").files())


def test_a_note_in_the_cache_that_was_cut_off_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pip itself, from a folder instead of an index."""
    offered = tmp_path / "offered"
    offered.mkdir()
    with zipfile.ZipFile(offered / "a-1-py3-none-any.whl", "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n")
        archive.writestr("a-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("a-1.dist-info/RECORD", "")
    digest = hashlib.sha256((offered / "a-1-py3-none-any.whl").read_bytes()).hexdigest()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offered))
    pins = [Pin(name="a", version="1", hashes=frozenset({digest}))]
    target = WheelTarget(platform=LINUX_AMD64, python=sys.version_info[:2], glibc=(2, 36))
    (first,) = fetch_wheels(pins, target, cache=tmp_path / "cache")
    (kept,) = (path for path in (tmp_path / "cache/wheels").glob("*/a-1") if path.is_file())
    for note in ("", digest[:9], f"{digest}/", f"{digest}/a-1-py3-no"):
        kept.write_text(note)
        assert fetch_wheels(pins, target, cache=tmp_path / "cache") == (first,)
        assert kept.read_text() == f"{digest}/a-1-py3-none-any.whl"
