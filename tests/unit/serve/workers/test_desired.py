"""What is desired follows the same rules as a data plane, so that a worker that begins anew serves what the others serve."""

import itertools

from tests.serving.kit import model

from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.serve.workers.desired import Desired
from aweigh.serve.workers.messages import Version


def version(name: str, number: int) -> Version:
    return Version(name=name, number=number)


def served(dataplane: DataPlane) -> tuple[dict[str, list[str]], dict[str, str]]:
    names = {model.name for model in dataplane.models()}
    return {name: sorted(dataplane.versions(name)) for name in names}, {name: dataplane.find(name).version for name in names}


def begun_with(desired: Desired) -> DataPlane:
    dataplane = DataPlane(Settings())
    dataplane.started = True
    for each in desired.models:
        dataplane.add(model(name=each.name, version=str(each.number)))
    return dataplane


def test_any_row_of_changes_leaves_a_new_worker_with_what_an_old_one_has() -> None:
    steps = [
        ("load", "a", 1),
        ("load", "a", 2),
        ("load", "b", 1),
        ("unload", "a", 0),
        ("join", "b", 1),
        ("stand", "a", 4),
        ("drop", "a", 3),
    ]
    for row in itertools.permutations(steps, 4):
        desired = Desired([version("a", 1), version("a", 3), version("b", 2)])
        old = begun_with(desired)
        for verb, name, number in row:
            if verb == "load":
                desired.take_over(version(name, number))
                old.replace(model(name=name, version=str(number)))
            elif verb in {"join", "stand"}:
                desired.join(version(name, number), default=verb == "join")
                old.join(model(name=name, version=str(number)), default=verb == "join")
            elif verb == "drop":
                desired.drop(version(name, number))
                if (there := old.loaded(name, str(number))) is not None:
                    old.drop(there)
            else:
                assert desired.remove(name) is bool(old.remove(name))
        assert served(begun_with(desired)) == served(old), row


def test_every_change_is_a_generation() -> None:
    desired = Desired([version("a", 1)])
    assert desired.generation == 1
    desired.take_over(version("a", 2))
    assert not desired.remove("b")
    assert desired.remove("a")
    assert (desired.generation, desired.models) == (3, ())
