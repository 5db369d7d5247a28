"""What can be deployed to: the list, of what is installed and of what is not."""

import importlib.util
from typing import Any

import pytest

from aweigh.app.deploy import list_targets


def test_the_list_knows_what_each_target_takes():
    listed = {each.name: each for each in list_targets()}
    assert (listed["cloud-run"].options["cpu"], listed["cloud-run"].options["timeout_s"]) == ("0", "60")
    assert listed["cloud-run"].needs == ["image"]
    assert not any(each.install for each in listed.values())


def test_without_a_library_the_list_names_what_installs_it(monkeypatch: pytest.MonkeyPatch):
    found = importlib.util.find_spec

    def without_yaml(name: str, *rest: Any) -> Any:
        return None if name == "yaml" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_yaml)
    listed = {each.name: each for each in list_targets()}
    assert listed["kubernetes"].install == "pip install 'aweigh[deploy]'"
    assert listed["kubernetes"].options == {}
    assert listed["docker"].install == ""
    assert "publish" in listed["docker"].options
