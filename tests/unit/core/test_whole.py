"""Files written whole: the old content until the end of the block, and nothing left behind where it raises."""

import contextlib
import stat
from pathlib import Path

import pytest

from aweigh.core.whole import whole


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_as_it_was_until_the_new_one_is_whole(tmp_path: Path, durable: bool) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"old")
    with whole(place, mode=0o644, durable=durable) as stream:
        stream.write(b"new")
        assert place.read_bytes() == b"old"
    assert place.read_bytes() == b"new"
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "file"
    stopped = RuntimeError("half written")
    with contextlib.suppress(RuntimeError), whole(place) as stream:
        stream.write(b"half")
        raise stopped
    assert [each.name for each in tmp_path.iterdir()] == []


def test_a_place_that_cannot_be_taken_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), whole(tmp_path / "folder"):  # noqa: PT011  # of the system
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
