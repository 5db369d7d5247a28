"""Advice for a stored package: what was asked is checked, what is told can be deployed."""

import json
from pathlib import Path

import pytest

from aweigh.app.advise import AdviseOptions, advise_package
from aweigh.app.deploy import DeployOptions, deploy_package
from aweigh.cli import main as cli
from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.plugins import plugins
from aweigh.core.settings import Settings


def test_every_option_is_of_a_target_that_is_there_and_shows_its_arithmetic(home: Path) -> None:
    advice = advise_package(Settings(home=str(home)), "linear", AdviseOptions(load=50, objective="p99 <= 50ms"))
    names = {row.name for row in plugins("target")}
    assert {option.target for option in advice.options} <= names
    assert all(option.arithmetic for option in advice.options if option.monthly is not None)
    suits = [option.monthly for option in advice.options if option.suits]
    assert suits
    assert suits == sorted(suits)
    assert advice.subject.model == "linear:1"
    assert not advice.capacity.measured


@pytest.mark.parametrize(
    "wrong",
    [
        {"load": 0.0},
        {"load": float("nan")},
        {"load": float("inf")},
        {"budget_month": float("nan")},
        {"budget_month": float("inf")},
        {"busy": 0.0},
        {"busy": 101.0},
        {"objective": "quick"},
        {"prices": "none.json"},
        {"capacity": "none.json"},
        {"variant": "none"},
    ],
)
def test_what_cannot_be_asked_is_refused(home: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(AweighError):
        advise_package(Settings(home=str(home)), "linear", AdviseOptions(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("load", [float("nan"), float("inf"), -1.0])
def test_a_load_that_is_no_number_is_refused_by_deploy_too(home: Path, tmp_path: Path, load: float) -> None:
    with pytest.raises(InvalidInput, match="requests/s"):
        deploy_package(Settings(home=str(home)), "linear", DeployOptions(target="systemd", out=str(tmp_path / "out"), load=load))


@pytest.mark.parametrize(("budget", "code"), [("0", 0), ("0.0001", 1)])
def test_the_command_ends_with_1_where_nothing_suits(home: Path, budget: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(("advise", "linear", "--home", str(home), "--load", "20", "--budget-month", budget, "--json"))
    assert ended.value.code == code
    said = json.loads(capsys.readouterr().out)
    assert any(option["suits"] for option in said["options"]) is (code == 0)
