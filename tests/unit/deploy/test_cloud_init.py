"""User data for a virtual machine: cloud-init would take them, words are never text for a shell, and what is written inside is checked as well."""

from pathlib import Path

import pytest
import yaml
from tests.unit.deploy.jobs import IMAGE, job, render, target, wrong

from aweigh.core.errors import Unsupported
from aweigh.deploy.commands import Commands

FILE = "user-data.yaml"


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def test_a_machine_starts_the_pod_as_a_service(tmp_path: Path) -> None:
    one = job(tmp_path, "cloud-init", set_={"publish": "0.0.0.0:80", "api_keys_file": "/etc/aweigh/keys"})
    render(tmp_path, "cloud-init", one)
    assert target("cloud-init").check(tmp_path, one) == []
    assert (tmp_path / FILE).read_text().startswith("#cloud-config\n")
    data = yaml.safe_load((tmp_path / FILE).read_bytes())
    pod, unit = data["write_files"]
    assert yaml.safe_load(pod["content"])["spec"]["containers"][0]["image"] == IMAGE
    assert f"ExecStart=/usr/bin/podman play kube --replace {pod['path']}" in unit["content"]
    assert data["runcmd"][1] == ["systemctl", "enable", "--now", Path(unit["path"]).name]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("#cloud-config\n", "# cloud-config\n", "cloud-init would pass it over"),
        ('permissions: "0644"', "permissions: 420", "Expected `str`"),
        ("runcmd:", "runcmds:", "missing required field `runcmd`"),
        ("containerPort: 8080", "containerPort: 808000", "<= 65535"),
        ("RemainAfterExit=", "RemainAfterExist=", "'RemainAfterExist' is not known"),
        ("/etc/systemd/system/", "/etc/systemd/", "starts aweigh-fraud.service, which is not written"),
    ],
)
def test_what_cloud_init_or_the_machine_would_not_take_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    one = job(tmp_path, "cloud-init")
    render(tmp_path, "cloud-init", one)
    path = tmp_path / FILE
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    found = wrong(target("cloud-init").check(tmp_path, one))
    assert any(said in each for each in found), found


def test_the_machine_is_made_by_the_clouds_own_client(tmp_path: Path) -> None:
    one = job(tmp_path, "cloud-init")
    with pytest.raises(Unsupported, match="your cloud's client"):
        target("cloud-init").apply(tmp_path, one, Commands())
