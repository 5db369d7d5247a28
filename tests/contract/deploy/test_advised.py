"""What `advise` says can be typed: every command it gives is rendered without a finding, and costs what was said."""

import re
import shlex
from pathlib import Path

import pytest
from tests.unit.deploy.jobs import IMAGE

from aweigh.app.advise import AdviseOptions, advise_package
from aweigh.app.deploy import DeployOptions, deploy_package
from aweigh.core.settings import Settings
from aweigh.deploy.targets import aws_lambda, azureml, cloud_functions

GIVEN = {"role=ARN": "role=arn:aws:iam::123456789012:role/models"}


def as_deployed(command: str, out: Path) -> tuple[str, DeployOptions]:
    """As the command line reads it, with what only a person knows filled in."""
    words = shlex.split(command)
    assert words[:2] == ["aweigh", "deploy"]
    pairs = list(zip(words[3::2], words[4::2], strict=True))
    said = {flag.removeprefix("--"): value for flag, value in pairs}
    return words[2], DeployOptions(
        target=said["to"],
        out=str(out),
        variant=said["variant"],
        load=float(said["load"]),
        objective=said.get("objective", ""),
        capacity=said.get("capacity", ""),
        scale=said.get("scale", ""),
        image=IMAGE if "image" in said else "",
        set=tuple(GIVEN.get(value, value) for flag, value in pairs if flag == "--set"),
    )


@pytest.mark.parametrize("load", [3.0, 40_000.0])
def test_every_command_deploys_what_was_reckoned(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float) -> None:
    for target in (aws_lambda, azureml, cloud_functions):  # whose runtime's library is not what is looked at
        monkeypatch.setattr(target, "runner_bundle", lambda *_, **__: {"run.py": b""})
    settings = Settings(home=str(home))
    report = tmp_path / "capacity of ours.json"
    report.write_text('{"capacity": {"rate": 8000.0}, "objective": "p99 <= 2ms", "sizing": {"cores": 2.0}}')
    asked = AdviseOptions(load=load, objective="p99 <= 30ms", capacity=str(report))
    options = [option for option in advise_package(settings, "linear", asked).options if option.suits]
    assert {option.target for option in options} >= {"systemd", "kubernetes", "lambda", "cloud-run", "cloud-functions", "vertex", "azureml"}
    for number, option in enumerate(options):
        model, deployment = as_deployed(option.command, tmp_path / str(number))
        done = deploy_package(settings, model, deployment)
        assert [finding for finding in done.findings if finding.fatal] == [], option.command
        said = re.match(r"about ([0-9.]+) USD a month", done.rendered.costs[0])
        assert said is not None, done.rendered.costs
        assert float(said[1]) == pytest.approx(option.monthly, rel=0.01, abs=0.02), (option.command, option.arithmetic, done.rendered.costs)
