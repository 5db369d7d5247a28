"""What a load or unload by parameters is: a plain change, or a rollout's beginning or end."""

from collections.abc import Mapping
from typing import Any

import pytest

from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.rollout import Bounds, Plan
from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.serve import repository


class Asked:
    """Both controls: what they were asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def index(self, done: Any, *, ready_only: bool = False) -> None:
        self.calls.append(("index", ready_only))

    def load(self, name: str, version: int | None, done: Any) -> None:
        self.calls.append(("load", name, version))

    def unload(self, name: str, done: Any) -> None:
        self.calls.append(("unload", name))

    def begin(self, plan: Plan, done: Any) -> None:
        self.calls.append(("begin", plan))

    def promote(self, name: str, done: Any) -> None:
        self.calls.append(("promote", name))

    def rollback(self, name: str, done: Any) -> None:
        self.calls.append(("rollback", name))

    def reports(self, name: str, done: Any) -> None:
        self.calls.append(("reports", name))


def asked(verb: Any, parameters: Mapping[str, object]) -> tuple[object, ...]:
    dataplane, control = DataPlane(Settings()), Asked()
    dataplane.control = dataplane.rollouts = control
    verb(dataplane, "fraud", parameters, lambda *_: None)
    return control.calls[0]


@pytest.mark.parametrize(
    ("parameters", "call"),
    [
        ({}, ("load", "fraud", None)),
        ({"version": "2"}, ("load", "fraud", 2)),
        ({"promote": True}, ("promote", "fraud")),
        ({"promote": False, "version": 2}, ("load", "fraud", 2)),
        ({"canary": "10%"}, ("begin", Plan(name="fraud", canary=0.1))),
        ({"version": 2, "canary": 0.1, "shadow": True}, ("begin", Plan(name="fraud", candidate=2, canary=0.1, shadow=1.0))),
        (
            {"canary": "0.5", "sticky": "x-user", "promote_after": "100", "bounds": '{"errors": null, "requests": 5}'},
            ("begin", Plan(name="fraud", canary=0.5, sticky="x-user", promote_after=100, bounds=Bounds(errors=None, requests=5))),
        ),
        ({"shadow": 1, "bounds": {"flips": 0}}, ("begin", Plan(name="fraud", shadow=1.0, bounds=Bounds(flips=0)))),
        ({"config": "{}"}, ("load", "fraud", None)),
        (
            {"config": '{"version_policy": {"specific": {"versions": [3]}}, "parameters": {"canary": {"string_value": "5%"}}}'},
            ("begin", Plan(name="fraud", candidate=3, canary=0.05)),
        ),
        ({"config": '{"parameters": {"promote": {"string_value": "true"}}}'}, ("promote", "fraud")),
    ],
)
def test_load(parameters: Mapping[str, object], call: tuple[object, ...]) -> None:
    assert asked(repository.load, parameters) == call


def test_unload() -> None:
    assert asked(repository.unload, {"unload_dependents": False}) == ("unload", "fraud")
    assert asked(repository.unload, {"rollback": True}) == ("rollback", "fraud")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"canary": "lots"}, "the parameter 'canary' is 'lots'"),
        ({"shadow": 2}, "the parameter 'shadow' is '2'"),
        ({"canary": [1]}, "the parameter 'canary'"),
        ({"canary": 0.1, "promote_after": "soon"}, "promote_after 'soon' is no number"),
        ({"canary": 0.1, "bounds": '{"erors": 1}'}, "the parameter 'bounds' cannot be read: Object contains unknown field `erors`"),
        ({"canary": 0.1, "bounds": [1]}, "the parameter 'bounds' cannot be read"),
        ({"promote": "yes"}, "the parameter 'promote' is 'yes': expected true or false"),
        ({"canary": 0.1, "version": "two"}, "version 'two' is no number"),
    ],
)
def test_parameters_that_are_none(parameters: Mapping[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        asked(repository.load, parameters)


@pytest.mark.parametrize(
    "config", ['{"max_batch_size": 8}', '{"version_policy": {"latest": {"num_versions": 2}}}', "{", '{"parameters": {"a": 1}}']
)
def test_any_other_configuration_is_refused(config: str) -> None:
    with pytest.raises(Unsupported, match="the parameter 'config' is not taken"):
        asked(repository.load, {"config": config})


def test_a_server_without_a_store_says_so() -> None:
    with pytest.raises(Unsupported, match="rolls nothing out"):
        repository.load(DataPlane(Settings()), "fraud", {"canary": "1%"}, lambda *_: None)
    with pytest.raises(Unsupported, match="no repository"):
        repository.unload(DataPlane(Settings()), "fraud", {}, lambda *_: None)
