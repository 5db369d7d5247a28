"""`aweigh env`: makes, lists and removes environments; those in use stay and are named."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aweigh.cli.main import root
from aweigh.core.errors import MissingLibrary
from aweigh.isolate import Environments, environments


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of environments, of which `plain` (nothing at all) can be made."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "plain.txt").write_text("# nothing\n")
    monkeypatch.setattr(environments, "LOCKS", tmp_path / "locks")
    monkeypatch.setenv("AWEIGH_ENVIRONMENTS", str(tmp_path / "kept"))
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))
    return tmp_path / "kept"


def said(*words: str) -> Result:
    done = CliRunner().invoke(root, ["env", *words])
    assert done.exit_code == 0, done.output
    return done


def test_made_listed_used_and_removed(kept: Path) -> None:
    assert "there are none" in said("list").stdout
    (made,) = json.loads(said("make", "plain", "--json").stdout)["environments"]
    assert made["size_bytes"] > 0
    (listed,) = json.loads(said("list", "--json").stdout)["environments"]
    assert (listed["name"], listed["in_use"], listed["current"], listed["folder"]) == ("plain", False, True, made["folder"])
    Environments(kept).home("plain")  # this process may start children in it from now on
    assert json.loads(said("list", "--json").stdout)["environments"][0]["in_use"]
    assert "now" in said("list").stdout
    shown = said("prune", "--all").stdout
    assert "removed 0 environments" in shown
    assert "left, because something is running in them: plain" in shown
    pruned = json.loads(said("prune", "--all", "--json").stdout)
    assert ([each["name"] for each in pruned["left"]], pruned["removed"]) == (["plain"], [])
    assert Path(made["folder"]).is_dir()


def test_none_may_be_made(kept: Path) -> None:
    done = CliRunner().invoke(root, ["env", "make", "plain", "--no-isolate"])
    assert isinstance(done.exception, MissingLibrary)
    assert "aweigh env make plain" in done.exception.hint
    assert not kept.exists()
