"""What `aweigh deploy --to kubernetes` renders, before the programs of Kubernetes: kubectl's kustomize, and the schemas of the API, strictly."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.deploy.jobs import job, render, target, wrong

from aweigh.deploy.commands import Commands
from aweigh.deploy.kubectl import checked_by_programs

CHOICES = {
    "monitoring": {"monitoring": "true", "api_keys_secret": "keys"},
    "blue-green": {"strategy": "blue-green"},
    "canary": {"strategy": "canary"},
}
BESIDE = Path(sys.executable).parent


@pytest.mark.parametrize("name", CHOICES)
def test_kubectl_builds_every_overlay_and_the_schemas_take_it(
    tmp_path: Path, program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program("kubectl")
    monkeypatch.setenv("PATH", str(BESIDE), prepend=":")
    one = job(tmp_path, "kubernetes", set_=CHOICES[name])
    render(tmp_path / "out", "kubernetes", one)
    assert Commands().there("kubernetes-validate")
    assert wrong(target("kubernetes").check(tmp_path / "out", one)) == []


@pytest.mark.parametrize(("old", "new"), [("maxSurge: 1", "maxSurge: [1]"), ("readinessProbe", "readynessProbe")])
def test_the_schemas_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    monkeypatch.setenv("PATH", str(BESIDE))
    one = job(tmp_path, "kubernetes")
    render(tmp_path, "kubernetes", one)
    path = tmp_path / "base/deployment.yaml"
    path.write_text(path.read_text().replace(old, new))
    found = wrong(checked_by_programs(tmp_path, ["base/deployment.yaml"], [], Commands()))
    assert len(found) == 1
    assert "kubernetes-validate" in found[0]
