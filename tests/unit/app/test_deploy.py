"""What can be deployed to: the list, of what is installed and of what is not."""

import importlib.util
from typing import Any

import pytest

from aweigh.app.deploy import _own_options, _target, list_targets
from aweigh.core.errors import InvalidInput


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


@pytest.mark.parametrize(
    ("target", "given", "said", "hint"),
    [
        ("lambda", "package=tar", "package='tar' is not", "one of image, zip"),
        ("lambda", "timeout_s=901", "timeout_s='901' is not", "a whole number between 1 and 900 such as 30"),
        ("docker", "publish=8080", "publish='8080' is not", "a text such as 127.0.0.1:8080"),
        ("docker", "api_keys_file=keys", "api_keys_file='keys' is not", "a text such as /etc/aweigh/keys"),
        ("kubernetes", "namespace", "'namespace' is not KEY=VALUE", "write namespace=VALUE"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_the_option_takes(target: str, given: str, said: str, hint: str):
    with pytest.raises(InvalidInput) as refused:
        _own_options(_target(target), [given])
    assert said in refused.value.message
    assert hint in refused.value.hint


def test_the_list_names_the_choices():
    listed = {each.name: each for each in list_targets()}
    assert set(listed["lambda"].choices["package"]) == {"zip", "image"}
    assert "timeout_s" not in listed["lambda"].choices
