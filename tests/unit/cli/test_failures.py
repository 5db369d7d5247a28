"""The edge of the command line: every kind has an exit code, and every way to fail has its form."""

import json
from pathlib import Path

import click
import pytest

from aweigh.cli import failures
from aweigh.core.errors import AweighError, Kind, ModelNotFound, all_errors

NEVER_SUCCESS = {1, 2, 3, 4, 5}


def _raise(error: BaseException) -> object:
    raise error


def test_every_kind_has_an_exit_code() -> None:
    assert set(failures.EXIT_CODES) == set(Kind)
    assert set(failures.EXIT_CODES.values()) == NEVER_SUCCESS


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_ends_with_the_code_of_its_kind(cls: type[AweighError], capsys: pytest.CaptureFixture[str]) -> None:
    code = failures.run(lambda: _raise(cls("what failed", hint="what to do")), [])
    assert code == failures.EXIT_CODES[cls.kind]
    printed = capsys.readouterr()
    assert printed.err == "error: what failed\nhint: what to do\n"
    assert printed.out == ""


def test_under_json_the_error_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.run(lambda: _raise(ModelNotFound("no model 'x'", hint="look", name="x")), ["show", "x", "--json"]) == 3
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out) == {
        "error": {"code": "model-not-found", "kind": "NOT_FOUND", "message": "no model 'x'", "hint": "look", "context": {"name": "x"}}
    }


def test_a_command_says_its_own_code() -> None:
    assert failures.run(lambda: 1, []) == 1
    assert failures.run(lambda: None, []) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_quiet(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.run(lambda: _raise(error), []) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_written_down_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = failures.run(lambda: _raise(RuntimeError("boom")), ["models", "--home", str(tmp_path)])
    assert code == 5
    printed = capsys.readouterr().err
    assert printed.startswith("error: RuntimeError: boom\nhint: this is a bug in aweigh")
    assert "Traceback" not in printed
    assert "RuntimeError: boom" in (tmp_path / "last-crash.txt").read_text()


def test_a_bug_over_a_name_that_is_no_utf8_is_written_down_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = b"m\xff".decode("utf-8", "surrogateescape")
    assert failures.run(lambda: _raise(RuntimeError(name)), ["show", name, "--json", "--home", str(tmp_path)]) == 5
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "RuntimeError: m\\udcff"
    assert "m\\udcff" in (tmp_path / "last-crash.txt").read_text()


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failures.run(lambda: _raise(RuntimeError("boom")), [f"--home={tmp_path}", "--log-level=debug"])
    assert "Traceback" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_still_gives_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.run(lambda: _raise(RuntimeError("boom")), ["--home", "/proc/none"]) == 5
    assert "--log-level debug" in capsys.readouterr().err
