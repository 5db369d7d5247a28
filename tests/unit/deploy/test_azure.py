"""What is rendered for Azure: it passes its own checks, its parts find each other, every mistake is caught."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import IMAGE, job, render, target, wrong

from aweigh.core.errors import InvalidInput
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
