"""What is rendered for Cloud Run: it passes its own strict checks, says nothing that Cloud Run says itself, and every mistake is caught."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.unit.deploy.jobs import CAPACITY, IMAGE, job, render, target, wrong

from aweigh.core.errors import InvalidInput
from aweigh.deploy.target import Scale
from aweigh.deploy.targets.cloud_run import check_service

KIND = "cloud-run"


def service(folder: Path, **more: Any) -> Any:
    one = job(folder, KIND, **more)
    render(folder / "out", KIND, one)
    assert target(KIND).check(folder / "out", one) == []
    return yaml.safe_load((folder / "out/service.yaml").read_bytes())


def test_the_first_request_is_held_until_the_probe_has_seen_it_ready(tmp_path: Path) -> None:
    document = service(tmp_path, scale=Scale(least=0, most=7))
    template = document["spec"]["template"]
    assert template["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] == "0"
    assert template["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"] == "7"
    container = template["spec"]["containers"][0]
    assert container["image"] == IMAGE
    assert container["startupProbe"]["httpGet"] == {"path": "/ready", "port": 8080}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 60
    names = {each["name"]: each["value"] for each in container["env"]}
    assert "PORT" not in names
    assert names["ORT_DISABLE_TELEMETRY"] == "1"
    assert names["AWEIGH_DRAIN_TIMEOUT_S"] == "8"


def test_concurrency_is_what_the_capacity_answers(tmp_path: Path) -> None:
    assert service(tmp_path)["spec"]["template"]["spec"]["containerConcurrency"] == round(2000 * 0.7 * 5.5 / 1000)
    rendered = target(KIND).render(job(tmp_path, KIND, set_={"concurrency": "80", "cpu": "2"}))
    assert b"containerConcurrency: 80" in bytes(rendered.files["service.yaml"])  # type: ignore[arg-type]  # no path
    assert CAPACITY.concurrency == 1


@pytest.mark.parametrize(
    ("memory_mib", "options", "size"),
    [
        (82, {}, ("1", "512Mi", None)),
        (82, {"cpu": "4"}, ("4", "2048Mi", "4")),
        (82, {"cpu": "8"}, ("8", "4096Mi", "8")),
        (800, {"cpu": "8"}, ("8", "8192Mi", "8")),
        (5000, {}, ("2", "6272Mi", "1")),
        (3000, {"cpu": "2"}, ("2", "7552Mi", "2")),
        (82, {"memory_mib": "6000"}, ("2", "6000Mi", "2")),
    ],
)
def test_memory_is_what_every_worker_takes_and_what_google_asks(
    tmp_path: Path, memory_mib: int, options: dict[str, str], size: tuple[str, str, str | None]
) -> None:
    document = service(tmp_path, set_=options, capacity=msgspec.structs.replace(CAPACITY, memory_mib=memory_mib))
    container = document["spec"]["template"]["spec"]["containers"][0]
    workers = {each["name"]: each["value"] for each in container["env"]}.get("AWEIGH_WORKERS")
    limits = container["resources"]["limits"]
    assert (limits["cpu"], limits["memory"], workers) == size


def test_costs_and_commands_are_told(tmp_path: Path) -> None:
    options = {"project": "my-project", "region": "europe-west1", "public": "true"}
    rendered = target(KIND).render(job(tmp_path, KIND, set_=options))
    assert rendered.commands[0] == "gcloud run services replace service.yaml --project=my-project --region=europe-west1"
    assert "--member=allUsers" in rendered.commands[1]
    assert "USD a month" in rendered.costs[0]


@pytest.mark.parametrize(
    "options", [{"region": "eu; rm -rf /"}, {"project": "--impersonate"}, {"service_account": "x y@z"}, {"region": "europe-west1\n"}]
)
def test_what_stands_in_commands_is_looked_at(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        target(KIND).render(job(tmp_path, KIND, set_=options))


CHANGES: dict[str, tuple[str, str, str]] = {
    "typo": ("containerConcurrency", "containerConcurency", "containerConcurency"),
    "port": ("containerPort: 8080", "containerPort: 808000", "containerPort"),
    "other port": ("containerPort: 8080", "containerPort: 8081", "asks port 8080"),
    "reserved": ("name: AWEIGH_HOST", "name: PORT", "PORT is set by Cloud Run alone"),
    "concurrency": ("containerConcurrency: 8", "containerConcurrency: 2000", "<= 1000"),
    "scale": ('minScale: "2"', 'minScale: "9"', "at least 9 instances and at most 6"),
    "probe": ("failureThreshold: 60", "failureThreshold: 600", "waits longer than 240 s"),
    "memory": ("memory: \"512Mi\"", "memory: \"9000Mi\"", "9000 MiB need 4 processors"),
    "too little memory": ('cpu: "1"', 'cpu: "8"', "8 processors need 4096 MiB of memory at least, and not 512"),
    "cpu": ('cpu: "1"', 'cpu: "3"', "cpu is '3'"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "said"), CHANGES.values(), ids=CHANGES)
def test_mistakes_are_caught(tmp_path: Path, before: str, after: str, said: str) -> None:
    service(tmp_path)
    text = (tmp_path / "out/service.yaml").read_text()
    assert before in text
    found = wrong(check_service(text.replace(before, after).encode()))
    assert any(said in each for each in found), found
