"""The table of commands, the lazy group, and the options every command takes."""

import importlib
import importlib.util
import json
import sys

import click
import pytest

from aweigh import __version__
from aweigh.cli import main as cli

ROWS = [(name, module) for section in cli.COMMANDS.values() for name, (module, _) in section.items()]


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("name", "module"), ROWS)
def test_every_row_has_its_module_and_json(name: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.util.find_spec(module) is not None
    command = importlib.import_module(module).command
    for words in [(name, each) for each in command.commands] if isinstance(command, click.Group) else [(name,)]:
        assert call(*words, "--help") == 0
        assert "--json" in capsys.readouterr().out


def test_help_lists_every_command_without_importing_one(capsys: pytest.CaptureFixture[str]) -> None:
    before = {module for _, module in ROWS if module in sys.modules}
    assert call("--help") == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name, _ in ROWS)
    assert {module for _, module in ROWS if module in sys.modules} == before


def test_no_words_mean_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    assert capsys.readouterr().out.startswith("Usage: aweigh")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"aweigh {__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("modles") == 2
    assert capsys.readouterr().err == "error: there is no command 'modles'\nhint: did you mean 'aweigh models'?\n"


def test_an_unknown_option_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("config", "--nope") == 2
    assert "'aweigh config --help' shows how it is used" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--json", "--home", "h", "config"), ("config", "--json", "--home", "h")])
def test_global_options_stand_before_or_after_the_command(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert (rows["home"]["value"], rows["home"]["origin"]) == ("h", "--home")
    assert all(row["help"] for row in rows.values())


def test_a_wrong_setting_names_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "--port", "99999") == 2
    assert "setting 'port' from --port is 99999: expected 0 to 65535" in capsys.readouterr().err
