"""The journal: complete results alone, one searcher at a time."""

import os
import threading
from pathlib import Path
from time import monotonic, time

import pytest

from aweigh.core.errors import DeadlineExceeded
from aweigh.optimization.journal import UNUSED_S, Journal
from aweigh.optimization.report import Result


def result(**files: str) -> Result:
    return Result(name="a", passes=("a",), base="onnx", outcome="slower", files=files)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.found("key") is None
    with journal.in_turn("key") as folder:
        file = folder / "model.onnx"
        file.write_bytes(b"model")
        journal.keep("key", result(model=str(file)))
    assert journal.found("key") == result(model=str(file))


def test_a_result_whose_files_are_gone_or_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.in_turn("gone"):
        journal.keep("gone", result(model=str(tmp_path / "absent")))
    with journal.in_turn("broken"):
        (tmp_path / "broken" / "result.json").write_bytes(b'{"name": "a"')
    assert journal.found("gone") is None
    assert journal.found("broken") is None


def test_what_a_killed_search_left_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with journal.in_turn("key") as folder:
        (folder / "half").write_bytes(b"half")
    with journal.in_turn("key") as folder:
        assert list(folder.iterdir()) == []


def test_others_wait_for_who_works_on_a_candidate(tmp_path: Path) -> None:
    journal, seen = Journal(tmp_path), []

    def wait() -> None:
        with journal.in_turn("key"):
            seen.append(journal.found("key"))

    with journal.in_turn("key"):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.2)
        assert seen == []
        journal.keep("key", result())
    other.join(10)
    assert seen == [result()]


def test_what_failed_is_not_kept(tmp_path: Path) -> None:
    """It need not fail again: a deadline, a lack of memory, an error in training code that is mended in a file nobody looked at."""
    journal = Journal(tmp_path)
    with journal.in_turn("key"):
        journal.keep("key", Result(name="a", passes=("a",), base="onnx", outcome="failed", why="it took longer than 1 s"))
    assert journal.found("key") is None


def test_nobody_waits_longer_than_until(tmp_path: Path) -> None:
    journal, told = Journal(tmp_path), []
    with journal.in_turn("key"):
        with (
            pytest.raises(DeadlineExceeded, match="another search"),
            journal.in_turn("key", until=monotonic() + 0.1, waits=lambda: told.append(1)),
        ):
            pass
        assert told == [1]
    with journal.in_turn("key", until=0.0, waits=lambda: told.append(2)):
        assert told == [1]


def test_what_no_search_uses_any_more_is_removed(tmp_path: Path) -> None:
    kept = {}
    for name in ("mine", "used", "unused"):
        journal = Journal(tmp_path / name)
        with journal.in_turn("key"):
            journal.keep("key", result())
        kept[name] = journal
    for name, unused_s in (("mine", 2 * UNUSED_S), ("used", UNUSED_S - 3600), ("unused", UNUSED_S + 3600)):
        os.utime(tmp_path / name, (time() - unused_s,) * 2)
    kept["mine"].begin()
    assert {name: journal.found("key") is not None for name, journal in kept.items()} == {"mine": True, "used": True, "unused": False}
    kept["used"].begin()
    assert kept["mine"].found("key") == result(), "it was used just now"
    Journal(tmp_path / "new").begin()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new", "used"]
