"""Manifests that a cluster would refuse, or would take and then not do what was meant: each is caught, with its place."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import job, render, target, wrong

from aweigh.deploy.manifest_checks import check_manifests, quantity

FILES = ("deployment", "service", "disruption-budget", "network-policy", "autoscaler")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By file, without and with monitoring."""
    folder = tmp_path_factory.mktemp("good")
    render(folder, "kubernetes", job(folder, "kubernetes", set_={"monitoring": "true"}))
    found = {name: yaml.safe_load((folder / f"base/{name}.yaml").read_bytes()) for name in FILES}
    found["service-monitor"] = yaml.safe_load((folder / "components/monitoring/service-monitor.yaml").read_bytes())
    return found


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def server(all_: dict[str, Any]) -> Any:
    return all_["deployment"]["spec"]["template"]["spec"]["containers"][0]


def renamed(of: dict[str, Any], old: str, new: str) -> None:
    of[new] = of.pop(old)


BAD: dict[str, tuple[Change, str]] = {
    "replicas: two": (lambda all_: all_["deployment"]["spec"].update(replicas="two"), r"deployment: \$\.spec\.replicas: Expected `int"),
    "containerPort: 808000": (lambda all_: server(all_)["ports"][0].update(containerPort=808000), r"containerPort: Expected `int` <= 65535"),
    "readynessProbe": (lambda all_: renamed(server(all_), "readinessProbe", "readynessProbe"), r"unknown field 'readynessProbe'"),
    "selector does not match labels": (
        lambda all_: all_["deployment"]["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/instance": "frau"}),
        r"deployment: \$\.spec\.selector: selects pods with",
    ),
    "a Service that finds nothing": (
        lambda all_: all_["service"]["spec"]["selector"].update(app="x"), r"service: \$\.spec\.selector: no pod has the labels"
    ),
    "a port that nobody listens on": (
        lambda all_: all_["service"]["spec"]["ports"][0].update(targetPort=8081), r"targetPort: no container listens on port 8081"
    ),
    "a probe of a port that is not there": (
        lambda all_: server(all_)["livenessProbe"]["httpGet"].update(port="web"), r"livenessProbe\.httpGet\.port: no container listens on port 'web'"
    ),
    "liveness asks for readiness": (
        lambda all_: server(all_)["livenessProbe"]["httpGet"].update(path="/ready"), r"livenessProbe: asks what the readinessProbe asks"
    ),
    "an autoscaler of nothing": (
        lambda all_: all_["autoscaler"]["spec"]["scaleTargetRef"].update(name="fraut"), r"there is no Deployment 'fraut'"
    ),
    "more at least than at most": (lambda all_: all_["autoscaler"]["spec"].update(minReplicas=9), r"minReplicas: 9 at least"),
    "replicas beside an autoscaler": (lambda all_: all_["deployment"]["spec"].update(replicas=2), r"each apply would undo"),
    "a share of no CPU": (lambda all_: server(all_)["resources"]["requests"].pop("cpu"), r"a container requests none"),
    "a budget that lets nothing go": (
        lambda all_: all_["disruption-budget"]["spec"].update(maxUnavailable=0), r"disruption-budget: \$\.spec: lets no pod go"
    ),
    "a budget of both": (lambda all_: all_["disruption-budget"]["spec"].update(minAvailable=1), r"neither or both"),
    "a policy for others": (
        lambda all_: all_["network-policy"]["spec"]["podSelector"]["matchLabels"].update(app="x"), r"network-policy: .*no pod has"
    ),
    "a policy of another port": (
        lambda all_: all_["network-policy"]["spec"]["ingress"][0]["ports"][0].update(port=9), r"no container listens on port 9"
    ),
    "a volume that is not there": (lambda all_: server(all_)["volumeMounts"][0].update(name="tmpp"), r"there is no volume 'tmpp'"),
    "more requested than allowed": (lambda all_: server(all_)["resources"]["limits"].update(memory="1Mi"), r"more memory is requested"),
    "a size that is none": (lambda all_: server(all_)["resources"]["limits"].update(memory="1 GB"), r"limits"),
    "killed while it drains": (
        lambda all_: all_["deployment"]["spec"]["template"]["spec"].update(terminationGracePeriodSeconds=10), r"is killed after 10 s"
    ),
    "nothing can ever be replaced": (
        lambda all_: all_["deployment"]["spec"]["strategy"]["rollingUpdate"].update(maxSurge=0), r"nothing could ever be replaced"
    ),
    "a name that is none": (lambda all_: all_["service"]["metadata"].update(name="Fraud_1"), r"service: \$\.metadata\.name"),
    "another API": (lambda all_: all_["deployment"].update(apiVersion="extensions/v1beta1"), r"\$\.apiVersion"),
    "a kind misspelt": (lambda all_: all_["deployment"].update(kind="Deploymnet"), r"kind 'Deploymnet' is not known"),
    "a monitor of nothing": (
        lambda all_: all_["service-monitor"]["spec"]["selector"]["matchLabels"].update(app="x"), r"no Service has the labels"
    ),
    "a monitor of another port": (lambda all_: all_["service-monitor"]["spec"]["endpoints"][0].update(port="web"), r"no port 'web'"),
    "an image that is none": (lambda all_: server(all_).update(image="x y"), r"image: 'x y' is not the address"),
    "a variable twice": (lambda all_: server(all_)["env"].append({"name": "PORT", "value": "1"}), r"env: PORT is set twice"),
}  # fmt: skip


def test_what_aweigh_renders_is_good(good: dict[str, Any]) -> None:
    assert check_manifests(list(good.items())) == []


@pytest.mark.parametrize("name", BAD)
def test_each_bad_manifest_is_caught_with_its_place(good: dict[str, Any], name: str) -> None:
    change, said = BAD[name]
    bad = copy.deepcopy(good)
    change(bad)
    findings = wrong(check_manifests(list(bad.items())))
    assert findings, name
    assert any(re.search(said, each) for each in findings), findings


def test_a_typo_names_what_was_meant(good: dict[str, Any]) -> None:
    bad = copy.deepcopy(good)
    renamed(server(bad), "readinessProbe", "readynessProbe")
    assert [each.hint for each in check_manifests(list(bad.items()))] == ["did you mean 'readinessProbe'?"]


def test_the_same_object_twice_and_what_is_no_object(good: dict[str, Any]) -> None:
    twice = wrong(check_manifests([("a", good["service"]), ("b", good["service"])]))
    assert twice == ["b: Service 'fraud' is in a too"]
    for nothing in (None, [], "text", {"kind": "Service"}):
        assert "is no object of Kubernetes" in wrong(check_manifests([("a", nothing)]))[0]


def test_a_file_that_is_gone_or_broken_is_told(tmp_path: Path) -> None:
    one = job(tmp_path, "kubernetes")
    folder = tmp_path / "out"
    render(folder, "kubernetes", one)
    (folder / "base/service.yaml").unlink()
    (folder / "base/network-policy.yaml").write_text("a: [")
    found = wrong(target("kubernetes").check(folder, one))
    assert any(each.startswith("base/service.yaml: is not there") for each in found)
    assert any("base/network-policy.yaml is not YAML" in each for each in found)


@pytest.mark.parametrize(("text", "number"), [("500m", 0.5), ("64Mi", 2.0**26), ("2", 2.0), (3, 3.0), ("1.5G", 1.5e9), ("1k", 1000.0)])
def test_quantities_are_read(text: str | int, number: float) -> None:
    assert quantity(text) == number
