"""What is rendered for KServe: a runtime and a service that find each other, and what a person breaks in them is told."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import IMAGE, job, render, target, wrong

from aweigh.deploy.target import Scale

RUNTIME, SERVICE = "serving-runtime.yaml", "inference-service.yaml"


def read(folder: Path, name: str) -> Any:
    return yaml.safe_load((folder / name).read_bytes())


def test_the_model_comes_out_of_an_image_and_the_runtime_serves_it(tmp_path: Path) -> None:
    one = job(tmp_path, "kserve", scale=Scale(least=0, most=4), set_={"canary_percent": "20", "runtime_image": "registry.example/server:1"})
    render(tmp_path, "kserve", one)
    assert wrong(target("kserve").check(tmp_path, one)) == []
    predictor = read(tmp_path, SERVICE)["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == f"oci://{IMAGE}"
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["canaryTrafficPercent"]) == (0, 4, 20)
    server = read(tmp_path, RUNTIME)["spec"]["containers"][0]
    environment = {each["name"]: each["value"] for each in server["env"]}
    assert (server["name"], server["image"], server["args"]) == ("kserve-container", "registry.example/server:1", ["serve", "fraud:3"])
    assert (environment["AWEIGH_HOME"], environment["AWEIGH_VARIANT"], environment["ORT_DISABLE_TELEMETRY"]) == ("/mnt/models", "onnx", "1")


def test_without_knative_one_pod_stays(tmp_path: Path) -> None:
    one = job(tmp_path, "kserve", scale=Scale(least=0, most=4), set_={"mode": "standard"})
    render(tmp_path, "kserve", one)
    assert wrong(target("kserve").check(tmp_path, one)) == []
    service = read(tmp_path, SERVICE)
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    assert (service["spec"]["predictor"]["minReplicas"], service["spec"]["predictor"]["scaleMetric"]) == (1, "cpu")


BAD = [
    (SERVICE, "canaryTrafficPercent: 20", "canaryTrafficPercent: ten", r"canaryTrafficPercent: Expected `int"),
    (SERVICE, "scaleMetric: concurrency", "scaleMetric: foo", r"scaleMetric: Invalid enum value 'foo'"),
    (SERVICE, "minReplicas: 2", "minReplica: 2", r"unknown field 'minReplica'"),
    (SERVICE, "minReplicas: 2", "minReplicas: 9", r"9 at least, where 6 are the most"),
    (SERVICE, "runtime: fraud", "runtime: fraut", r"there is no ServingRuntime 'fraut'"),
    (SERVICE, "oci://", "s3://", r"storageUri"),
    (SERVICE, "name: aweigh", "name: sklearn", r"does not take 'sklearn'"),
    (RUNTIME, "kserve-container", "server", r"none is named 'kserve-container'"),
    (RUNTIME, "containerPort: 8080", "containerPort: 8081", r"a probe asks port 8080"),
    (RUNTIME, "readinessProbe", "readynessProbe", r"unknown field 'readynessProbe'"),
]


@pytest.mark.parametrize(("file", "old", "new", "said"), BAD)
def test_each_bad_manifest_is_caught(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    one = job(tmp_path, "kserve", set_={"canary_percent": "20"})
    render(tmp_path, "kserve", one)
    path = tmp_path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = wrong(target("kserve").check(tmp_path, one))
    assert any(re.search(said, each) for each in found), found
