"""What is rendered for KServe: a runtime and a service that find each other, and what a person breaks in them is told."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import IMAGE, job, render, target, wrong

from aweigh.core.errors import InvalidInput
from aweigh.deploy.target import Scale

RUNTIME, SERVICE = "serving-runtime.yaml", "inference-service.yaml"


def read(folder: Path, name: str) -> Any:
    return yaml.safe_load((folder / name).read_bytes())


def predictor_of(folder: Path, **more: Any) -> Any:
    one = job(folder, "kserve", **more)
    render(folder, "kserve", one)
    assert wrong(target("kserve").check(folder, one)) == []
    return read(folder, SERVICE)["spec"]["predictor"]


def variables(server: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in server["env"]}


def test_the_models_own_image_serves_it(tmp_path: Path) -> None:
    predictor = predictor_of(tmp_path, scale=Scale(least=0, most=4), set_={"canary_percent": "20"})
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["canaryTrafficPercent"]) == (0, 4, 20)
    assert "model" not in predictor
    assert not (tmp_path / RUNTIME).exists()
    (server,) = predictor["containers"]
    assert (server["name"], server["image"]) == ("kserve-container", IMAGE)
    assert "args" not in server, "the image says what it serves"
    assert (variables(server)["PROTOCOL"], variables(server)["ORT_DISABLE_TELEMETRY"]) == ("v2", "1")
    assert {each["name"] for each in server["volumeMounts"]} == {each["name"] for each in predictor["volumes"]}


def test_knative_gets_nothing_that_it_refuses(tmp_path: Path) -> None:
    """Its admission takes neither a pod's own grace period, nor the variable PORT, nor ports by other names than its own."""
    predictor = predictor_of(tmp_path)
    (server,) = predictor["containers"]
    assert "terminationGracePeriodSeconds" not in predictor
    assert predictor["timeout"] == 40, "what a pod that ends gets: 5 s until proxies know, 30 s to drain, and a margin"
    assert not {"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"} & set(variables(server))
    assert server["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]
    standard = predictor_of(tmp_path / "standard", set_={"mode": "standard"})
    assert standard["terminationGracePeriodSeconds"] == 40
    assert "timeout" not in standard
    assert variables(standard["containers"][0])["PORT"] == "8080"


@pytest.mark.parametrize(
    ("options", "uri"),
    [
        ({"model": "modelcar", "model_image": "registry.example/model:1"}, "oci://registry.example/model:1"),
        ({"model": "volume"}, f"oci+native://{IMAGE}"),
    ],
)
def test_the_model_comes_out_of_an_image_and_the_runtime_serves_it(tmp_path: Path, options: dict[str, str], uri: str) -> None:
    predictor = predictor_of(tmp_path, set_={"runtime_image": "registry.example/server:1", **options})
    assert predictor["model"]["storageUri"] == uri
    assert "containers" not in predictor
    server = read(tmp_path, RUNTIME)["spec"]["containers"][0]
    assert (server["name"], server["image"], server["args"]) == ("kserve-container", "registry.example/server:1", ["serve", "fraud:3"])
    assert (variables(server)["AWEIGH_HOME"], variables(server)["AWEIGH_VARIANT"]) == ("/mnt/models", "onnx")
    assert "PORT" not in variables(server)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "modelcar"}, "needs the address of a model image"),
        ({"model_image": "registry.example/model:1"}, "model_image says nothing"),
        ({"runtime_image": "registry.example/server:1"}, "runtime_image says nothing"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        target("kserve").render(job(tmp_path, "kserve", set_=options))


def test_without_knative_one_pod_stays(tmp_path: Path) -> None:
    one = job(tmp_path, "kserve", scale=Scale(least=0, most=4), set_={"mode": "standard"})
    render(tmp_path, "kserve", one)
    assert wrong(target("kserve").check(tmp_path, one)) == []
    service = read(tmp_path, SERVICE)
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    assert (service["spec"]["predictor"]["minReplicas"], service["spec"]["predictor"]["scaleMetric"]) == (1, "cpu")


INSIDE: dict[str, str] = {"canary_percent": "20"}
BESIDE = {"model": "modelcar", "model_image": "registry.example/model:1"}
BAD = [
    (INSIDE, SERVICE, "canaryTrafficPercent: 20", "canaryTrafficPercent: ten", r"canaryTrafficPercent: Expected `int"),
    (INSIDE, SERVICE, "scaleMetric: concurrency", "scaleMetric: foo", r"scaleMetric: Invalid enum value 'foo'"),
    (INSIDE, SERVICE, "minReplicas: 2", "minReplica: 2", r"unknown field 'minReplica'"),
    (INSIDE, SERVICE, "minReplicas: 2", "minReplicas: 9", r"9 at least, where 6 are the most"),
    (INSIDE, SERVICE, "timeout: 40", "terminationGracePeriodSeconds: 40", r"terminationGracePeriodSeconds: Knative refuses it"),
    (INSIDE, SERVICE, "name: PROTOCOL", "name: PORT", r"predictor.containers\[0\].env: PORT is Knative's own"),
    (INSIDE, SERVICE, "kserve-container", "server", r"none is named 'kserve-container'"),
    (INSIDE, SERVICE, "containerPort: 8080", "containerPort: 8081", r"a probe asks port 8080"),
    (BESIDE, SERVICE, "runtime: fraud", "runtime: fraut", r"there is no ServingRuntime 'fraut'"),
    (BESIDE, SERVICE, "oci://", "s3://", r"storageUri"),
    (BESIDE, SERVICE, "name: aweigh", "name: sklearn", r"does not take 'sklearn'"),
    (BESIDE, RUNTIME, "kserve-container", "server", r"none is named 'kserve-container'"),
    (BESIDE, RUNTIME, "containerPort: 8080", "containerPort: 8081", r"a probe asks port 8080"),
    (BESIDE, RUNTIME, "name: AWEIGH_LOG_FORMAT", "name: PORT", r"PORT is Knative's own"),
    (BESIDE, RUNTIME, "readinessProbe", "readynessProbe", r"unknown field 'readynessProbe'"),
]


@pytest.mark.parametrize(("options", "file", "old", "new", "said"), BAD)
def test_each_bad_manifest_is_caught(tmp_path: Path, options: dict[str, str], file: str, old: str, new: str, said: str) -> None:
    one = job(tmp_path, "kserve", set_=options)
    render(tmp_path, "kserve", one)
    path = tmp_path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = wrong(target("kserve").check(tmp_path, one))
    assert any(re.search(said, each) for each in found), found
