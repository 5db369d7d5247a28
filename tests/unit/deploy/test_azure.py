"""What is rendered for Azure: it passes its own checks, its parts find each other, every mistake is caught."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import IMAGE, job, render, target, wrong
from tests.unit.deploy.test_applying import Told

from aweigh.core.errors import InvalidInput, Refused
from aweigh.deploy.target import Scale

KIND = "container-apps"


def app(folder: Path, **more: Any) -> Any:
    one = job(folder, KIND, **more)
    render(folder / "out", KIND, one)
    assert target(KIND).check(folder / "out", one) == []
    return yaml.safe_load((folder / "out/containerapp.yaml").read_bytes())["properties"]


def test_an_app_starts_before_it_is_asked_and_may_sleep(tmp_path: Path) -> None:
    properties = app(tmp_path, scale=Scale(least=0, most=3), set_={"public": "true"})
    template = properties["template"]
    container = template["containers"][0]
    assert container["image"] == IMAGE
    assert container["probes"][0]["type"] == "Startup"
    assert container["probes"][0]["periodSeconds"] * container["probes"][0]["failureThreshold"] >= 60
    assert (template["scale"]["minReplicas"], template["scale"]["maxReplicas"]) == (0, 3)
    assert properties["configuration"]["ingress"] == {"external": True, "targetPort": 8080, "transport": "auto"}
    assert container["resources"] == {"cpu": 0.5, "memory": "1Gi"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("targetPort: 8080", "targetPort: 80", "asks another port than 80"),
        ("minReplicas: 2", "minReplicas: 9", "no number of replicas"),
        ("failureThreshold: 10", "failureThreshold: 60", "failureThreshold is more than 10"),
    ],
)
def test_mistakes_are_caught(tmp_path: Path, before: str, after: str, said: str) -> None:
    app(tmp_path)
    path = tmp_path / "out/containerapp.yaml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    assert any(said in each for each in wrong(target(KIND).check(tmp_path / "out", job(tmp_path, KIND))))


@pytest.mark.parametrize(("kind", "options"), [(KIND, {"resource_group": "a b"}), ("azureml", {"workspace": "--debug"})])
def test_what_stands_in_commands_is_looked_at(tmp_path: Path, kind: str, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        target(kind).render(job(tmp_path, kind, set_=options))


class Workspace(Told):
    """Azure Machine Learning with an endpoint and these deployments behind it."""

    def __init__(self, *deployments: str, refuses: str = "\0") -> None:
        super().__init__({"az ml online-deployment list": "\n".join(deployments) + "\n"}, refuses)
        self._there = deployments

    def run(self, words: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout_s: float = 600) -> str:
        said = super().run(words, stdin=stdin, folder=folder, timeout_s=timeout_s)
        if list(words[2:4]) == ["online-deployment", "show"] and words[5] not in self._there:
            raise Refused("ResourceNotFound")
        return said

    def told(self, what: str) -> list[str]:
        return [words.removesuffix(" --only-show-errors") for words in self.words if what in words]


def applied(folder: Path, azure: Workspace) -> None:
    (folder / "deployment.yml").write_text("name: v3-abababab\nendpoint_name: fraud\n")
    target("azureml").apply(folder, job(folder, "azureml"), azure)


def test_earlier_versions_are_deleted_once_the_new_one_has_all_traffic(tmp_path: Path) -> None:
    azure = Workspace("v1-12345678", "v2-abababab", "v2-cdcdcdcd")
    applied(tmp_path, azure)
    assert azure.told(" online-deployment delete ") == [
        f"az ml online-deployment delete --name {each} --endpoint-name fraud --yes"
        for each in ("v1-12345678", "v2-abababab", "v2-cdcdcdcd")
    ]
    verbs = [words.split()[3] for words in azure.told(" online-deployment ")]
    assert verbs == ["show", "create", "list", "delete", "delete", "delete"]
    assert azure.told(" create ")[0].endswith("--all-traffic")


def test_the_same_version_a_second_time_is_updated_and_stays(tmp_path: Path) -> None:
    azure = Workspace("v3-abababab")
    applied(tmp_path, azure)
    assert not azure.told(" delete ")
    assert [words.split()[3] for words in azure.told(" online-deployment ")] == ["show", "update", "list"]
    assert azure.told(" --traffic ") == ["az ml online-endpoint update --name fraud --traffic v3-abababab=100"]


def test_nothing_is_deleted_where_the_new_one_does_not_come_up(tmp_path: Path) -> None:
    azure = Workspace("v1-12345678", refuses="online-deployment create")
    with pytest.raises(Refused):
        applied(tmp_path, azure)
    assert not azure.told(" delete ")
