"""What is rendered for Ray Serve: the configuration's parts fit, and the code beside it is the same for every model."""

import ast
from pathlib import Path

import pytest
import yaml
from tests.unit.deploy.jobs import job, package, render, target, wrong

from aweigh.deploy.target import Scale


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
