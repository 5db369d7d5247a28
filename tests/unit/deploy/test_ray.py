"""What is rendered for Ray Serve: the configuration's parts fit, and the code beside it is the same for every model."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import job, package, render, target, wrong
from tests.unit.deploy.test_applying import Told

from aweigh.core.errors import Conflict, InvalidInput
from aweigh.deploy.target import Scale

OTHER = "name: other\nroute_prefix: /other\nimport_path: shop:app\nargs:\n  size: 3\n"
FRAUD = "name: fraud\nroute_prefix: /\nimport_path: aweigh_ray:build\n"
FACTS = {"name": "fraud", "dashboard": "http://127.0.0.1:8265"}


class Cluster(Told):
    """A cluster of Ray with these applications: it keeps the configurations that it was sent."""

    def __init__(self, *configured: str, started: str = "") -> None:
        status = "applications:\n" + "".join(f"  {yaml.safe_load(each)['name']}: {{}}\n" for each in configured) + started
        config = "\n---\n\n".join(configured) or "No configuration was found."
        super().__init__({"serve config": config, "serve status": status})
        self.sent: list[Any] = []

    def run(self, words: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout_s: float = 600) -> str:
        if words[1] == "deploy":
            self.sent.append(yaml.safe_load(Path(words[-1]).read_bytes()))
        return super().run(words, stdin=stdin, folder=folder, timeout_s=timeout_s)

    @property
    def verbs(self) -> list[str]:
        return [each.split()[1] for each in self.words]


def applied(folder: Path, cluster: Cluster, **set_: str) -> Any:
    one = job(folder, "ray", set_=set_)
    render(folder / "out", "ray", one)
    return target("ray").apply(folder / "out", one, cluster)


def test_applications_that_are_there_stay(tmp_path: Path) -> None:
    cluster = Cluster(OTHER, FRAUD)
    assert applied(tmp_path, cluster).facts == FACTS
    (sent,) = cluster.sent
    assert [each["name"] for each in sent["applications"]] == ["fraud", "other"]
    assert sent["applications"][0]["args"]["model"] == "fraud:3", "its own is the rendered one"
    assert sent["applications"][1] == yaml.safe_load(OTHER)
    assert sent["http_options"] == {"host": "127.0.0.1", "port": 8000}


def test_a_route_that_another_one_has_is_refused(tmp_path: Path) -> None:
    cluster = Cluster(OTHER)
    with pytest.raises(InvalidInput, match="is the route of the application 'other'"):
        applied(tmp_path, cluster, route="/other")
    assert not cluster.sent


def test_undeploying_one_leaves_the_others(tmp_path: Path) -> None:
    cluster = Cluster(FRAUD, OTHER)
    target("ray").remove(FACTS, tmp_path, cluster)
    assert cluster.verbs == ["config", "deploy"]
    assert [each["name"] for each in cluster.sent[0]["applications"]] == ["other"]


@pytest.mark.parametrize(
    ("cluster", "verbs"),
    [(Cluster(FRAUD), ["config", "status", "shutdown"]), (Cluster(OTHER), ["config"]), (Cluster(), ["config"])],
    ids=["the last one", "gone", "nothing there"],
)
def test_serve_is_shut_down_after_the_last_one_alone(tmp_path: Path, cluster: Cluster, verbs: list[str]) -> None:
    target("ray").remove(FACTS, tmp_path, cluster)
    assert cluster.verbs == verbs


def test_what_a_program_started_is_not_shut_down(tmp_path: Path) -> None:
    cluster = Cluster(FRAUD, started="  notebook: {}\n")
    with pytest.raises(Conflict, match="'notebook'"):
        target("ray").remove(FACTS, tmp_path, cluster)
    assert "shutdown" not in cluster.verbs


def test_the_configuration_says_what_is_served_and_the_code_does_not(tmp_path: Path) -> None:
    one = job(tmp_path, "ray", set_={"route": "/fraud", "home": "/srv/aweigh"}, scale=Scale(least=0, most=3))
    other = job(tmp_path, "ray", package=package(tmp_path, name="other", version=9))
    code = render(tmp_path / "one", "ray", one).files["aweigh_ray.py"]
    assert code == render(tmp_path / "other", "ray", other).files["aweigh_ray.py"]
    assert {each.name for each in ast.parse(code).body if isinstance(each, ast.FunctionDef | ast.ClassDef)} == {"Model", "build"}  # type: ignore[arg-type]
    application = yaml.safe_load((tmp_path / "one/serve.yaml").read_bytes())["applications"][0]
    assert application["args"] == {"model": "fraud:3", "variant": "onnx", "home": "/srv/aweigh"}
    assert application["deployments"][0]["autoscaling_config"]["max_replicas"] == 3
    assert target("ray").check(tmp_path / "one", one) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_replicas: 6", "max_replicas: 0", "Expected `int` >= 1"),
        ("max_replicas: 6", "max_replica: 6", "unknown field 'max_replica'"),
        ("min_replicas: 2", "min_replicas: 9", "min_replicas is above max_replicas"),
        ("aweigh_ray:build", "aweigh_rai:build", "there is no aweigh_rai.py"),
    ],
)
def test_what_ray_would_refuse_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    one = job(tmp_path, "ray")
    render(tmp_path, "ray", one)
    path = tmp_path / "serve.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert any(said in each for each in wrong(target("ray").check(tmp_path, one)))
