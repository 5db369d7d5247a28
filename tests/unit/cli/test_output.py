"""What is printed: tables, documents, and nothing that steers a terminal."""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest

from aweigh.cli import output
from aweigh.cli.output import Output, count_text
from aweigh.core.errors import FileMissing


class Named(msgspec.Struct):
    """A document as commands print them."""

    name: str


def test_a_table_is_plain_text_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("name", "size"), [("fraud", 12), ("iris", 3)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["name", "size"], [lines[1]], ["fraud", "12"], ["iris", "3"]]
    assert "\x1b" not in "".join(lines)


def test_cells_read_as_a_person_writes(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("a", "b", "c", "d"), [(None, True, 0.123456, "[red]x[/red]")])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["-", "yes", "0.1235", "[red]x[/red]"]


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\rb", "a\u202eb", "a\x9bb"])
def test_control_characters_are_shown_not_obeyed(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output().text(text)
    Output().table(("name",), [(text,)])
    printed = capsys.readouterr().out
    assert text not in printed
    assert "a\\" in printed


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.text("never seen")
    out.show({"a": float("nan")}, lambda: out.text("nor this"))
    assert json.loads(capsys.readouterr().out) == {"a": None}


def test_a_name_that_is_no_utf8_is_shown(tmp_path: Path) -> None:
    """As a path in the arguments has it; stdout is strict about it, as it is where a locale is set."""
    name = b"m\xff.onnx".decode("utf-8", "surrogateescape")
    printed = tmp_path / "printed"
    with printed.open("w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        Output(as_json=True).show({"files": ({name: 1},), "size": float("nan"), "model": Named(name)}, lambda: None)
        output.error(FileMissing(f"{name} does not exist", file=name), as_json=True)
        Output().text(f"packed {name}")
        Output().table(("file",), [(name,)])
    shown = "m\\udcff.onnx"
    text = printed.read_text(encoding="utf-8")
    document, at = json.JSONDecoder().raw_decode(text)
    assert document == {"files": [{shown: 1}], "size": None, "model": {"name": shown}}
    error, end = json.JSONDecoder().raw_decode(text[at:].lstrip())
    assert error["error"]["message"] == f"{shown} does not exist"
    lines = text[at:].lstrip()[end:].split("\n")
    assert lines[1] == f"packed {shown}"
    assert shown in lines


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress() as progress:
        progress("converting", 1, 3)
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_left_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with pytest.raises(output.ReaderGone):
        Output().text("x")


def test_an_output_that_is_full_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        Output().text("x")
        with pytest.raises(output.CannotWrite) as caught:
            output.flush()
        assert caught.value.error.message == "cannot write to standard output: No space left on device"
        with pytest.raises(output.CannotWrite):
            Output().text("x" * 100_000)
        output.discard()


def test_one_of_them_is_one() -> None:
    assert [count_text(count, "row") for count in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
