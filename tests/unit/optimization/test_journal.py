"""The journal: complete results alone, one searcher at a time."""

import threading
from pathlib import Path

from aweigh.optimization.journal import Journal
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
