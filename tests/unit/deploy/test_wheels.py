"""Wheels: what is taken out of one, and that none writes elsewhere."""

import zipfile
from pathlib import Path

import pytest

from aweigh.core.errors import InvalidFile
from aweigh.deploy.wheels import Wheel


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
