"""What is rendered for Kubernetes: it passes its own checks, its parts find each other, and every strategy and overlay says what it is."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import DIGEST, IMAGE, job, render, target

from aweigh.core.errors import InvalidInput
from aweigh.core.objective import parse_objective
from aweigh.deploy.target import Demand, DeployJob, Scale

KIND = "kubernetes"
BASE = {
    "base/kustomization.yaml", "base/deployment.yaml", "base/service.yaml", "base/disruption-budget.yaml", "base/network-policy.yaml", "base/autoscaler.yaml",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks by programs are the end-to-end tests'."""
    monkeypatch.setenv("PATH", "")


def read(folder: Path, name: str) -> Any:
    return yaml.safe_load((folder / name).read_bytes())


def rendered(folder: Path, one: DeployJob) -> set[str]:
    return set(render(folder, KIND, one).files)


def test_what_is_rendered_passes_its_own_checks(tmp_path: Path) -> None:
    one = job(tmp_path, KIND)
    assert rendered(tmp_path / "out", one) >= BASE
    assert target(KIND).check(tmp_path / "out", one) == []


def test_probes_ask_what_they_mean_and_the_grace_is_longer_than_the_drain(tmp_path: Path) -> None:
    rendered(tmp_path, job(tmp_path, KIND))
    pod = read(tmp_path, "base/deployment.yaml")["spec"]["template"]["spec"]
    server = pod["containers"][0]
    paths = {probe: server[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/live"}
    environment = {each["name"]: each["value"] for each in server["env"]}
    assert pod["terminationGracePeriodSeconds"] > float(environment["AWEIGH_DRAIN_DELAY_S"]) + float(environment["AWEIGH_DRAIN_TIMEOUT_S"])
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert pod["enableServiceLinks"] is False
    assert server["image"] == IMAGE


def test_memory_and_replicas_come_from_the_capacity(tmp_path: Path) -> None:
    rendered(tmp_path, job(tmp_path, KIND, scale=Scale(least=3, most=3)))
    deployment = read(tmp_path, "base/deployment.yaml")["spec"]
    assert deployment["replicas"] == 3
    assert not (tmp_path / "base/autoscaler.yaml").exists()
    resources = deployment["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "1", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}


def test_an_autoscaler_alone_says_how_many_there_are(tmp_path: Path) -> None:
    demand = Demand(requests_per_second=5000, objective=parse_objective("p99 <= 20ms"))
    rendered(tmp_path, job(tmp_path, KIND, demand=demand, set_={"monitoring": "true"}))
    assert "replicas" not in read(tmp_path, "base/deployment.yaml")["spec"]
    scaler = read(tmp_path, "base/autoscaler.yaml")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    metrics = read(tmp_path, "components/monitoring/queue-metric.yaml")["spec"]["metrics"]
    assert metrics[0] == scaler["metrics"][0]
    assert metrics[1]["pods"]["target"] == {"type": "AverageValue", "averageValue": "7"}, "0.7 x 2000/s x a quarter of 20 ms"


def test_keys_are_mounted_and_prometheus_sends_one(tmp_path: Path) -> None:
    one = job(tmp_path, KIND, set_={"api_keys_secret": "fraud-keys", "monitoring": "true"})
    rendered(tmp_path, one)
    pod = read(tmp_path, "base/deployment.yaml")["spec"]["template"]["spec"]
    environment = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    assert (environment["AWEIGH_NO_AUTH"], environment["AWEIGH_API_KEY_FILE"]) == ("false", "/etc/aweigh/keys/keys")
    assert pod["volumes"][1]["secret"]["secretName"] == "fraud-keys"
    endpoint = read(tmp_path, "components/monitoring/service-monitor.yaml")["spec"]["endpoints"][0]
    assert endpoint["authorization"]["credentials"] == {"name": "fraud-keys", "key": "metrics"}
    assert target(KIND).check(tmp_path, one) == []


def test_blue_green_turns_the_service_once_the_new_pods_are_there(tmp_path: Path) -> None:
    one = job(tmp_path, KIND, set_={"strategy": "blue-green"})
    rendered(tmp_path, one)
    labels = read(tmp_path, "base/deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    turned = read(tmp_path, "switch/service.yaml")
    preview = read(tmp_path, "base/service-preview.yaml")
    assert (turned["metadata"]["name"], preview["metadata"]["name"]) == ("fraud", "fraud-preview")
    for service in (turned, preview):
        assert service["spec"]["selector"].items() <= labels.items()
        assert service["spec"]["selector"]["aweigh/track"] not in {"stable", "canary"}
    assert not (tmp_path / "base/service.yaml").exists()
    assert target(KIND).check(tmp_path, one) == []
    other = job(tmp_path, KIND, set_={"strategy": "blue-green"}, image=IMAGE.replace("ab", "cd"))
    rendered(tmp_path / "other", other)
    assert read(tmp_path / "other", "switch/service.yaml")["spec"]["selector"] != turned["spec"]["selector"]


def test_a_canary_is_a_share_of_the_pods_behind_the_same_service(tmp_path: Path) -> None:
    stable, canary = (
        job(tmp_path, KIND),
        job(tmp_path, KIND, set_={"strategy": "canary", "canary_percent": "25"}, scale=Scale(least=3, most=9)),
    )
    rendered(tmp_path / "stable", stable)
    assert not {name for name in rendered(tmp_path / "canary", canary) if "service" in name or "autoscaler" in name}
    one, two = (read(tmp_path / each, "base/deployment.yaml") for each in ("stable", "canary"))
    assert (two["metadata"]["name"], two["spec"]["replicas"]) == ("fraud-canary", 1)
    selector = read(tmp_path / "stable", "base/service.yaml")["spec"]["selector"]
    for deployment in (one, two):
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert not one["spec"]["selector"]["matchLabels"].items() <= two["spec"]["template"]["metadata"]["labels"].items()
    with pytest.raises(InvalidInput, match="do not go together"):
        target(KIND).render(job(tmp_path, KIND, set_={"strategy": "canary", "overlay": "staging"}))


@pytest.mark.parametrize("image", ["--privileged", "x y", "x;id", "x\ny", "", "X", "a@sha256:12", "http://x/y"])
def test_what_is_no_address_of_an_image_is_refused(tmp_path: Path, image: str) -> None:
    with pytest.raises(InvalidInput, match="is not the address of an image"):
        target(KIND).render(job(tmp_path, KIND, image=image))


def test_a_tag_alone_is_told_of_and_no_failure(tmp_path: Path) -> None:
    one = job(tmp_path, KIND, image="registry.example/team/fraud:v3")
    rendered(tmp_path, one)
    found = target(KIND).check(tmp_path, one)
    assert [each.fatal for each in found] == [False]
    assert "no digest" in found[0].message
    assert DIGEST not in (tmp_path / "base/deployment.yaml").read_text()
