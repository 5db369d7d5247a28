"""The check-up tells what is in the way, and what to do about it."""

import json
import socket
from pathlib import Path

import pytest

from aweigh.app.doctor import Finding, Verdict, examine
from aweigh.cli import main as cli
from aweigh.core.plugins import plugins
from aweigh.core.settings import Settings


def _found(settings: Settings, check: str) -> Finding:
    return next(finding for finding in examine(settings) if finding.check == check)


def test_everything_is_looked_at(tmp_path: Path) -> None:
    findings = examine(Settings(home=str(tmp_path), port=0))
    checks = [finding.check for finding in findings]
    assert checks[:8] == ["python", "platform", "processor", "memory", "home", "disk", "port", "event loop"]
    assert {f"{kind} {row.name}" for kind in ("framework", "runtime", "dialect", "provider") for row in plugins(kind)} == set(checks[8:])
    assert all(finding.hint for finding in findings if finding.verdict in (Verdict.PROBLEM, Verdict.MISSING))
    assert list(tmp_path.iterdir()) == []


def test_providers_that_are_not_there_say_what_has_them_and_whether_they_were_ever_run(tmp_path: Path) -> None:
    cuda, cpu, openvino = (_found(Settings(home=str(tmp_path), port=0), f"provider {name}") for name in ("cuda", "cpu", "openvino"))
    assert (cuda.verdict, cpu.verdict, openvino.verdict) == (Verdict.MISSING, Verdict.OK, Verdict.MISSING)
    assert cuda.hint == "install onnxruntime-gpu in place of onnxruntime; not run on an NVIDIA GPU: the golden replay on yours decides"
    assert openvino.hint == "install onnxruntime-openvino in place of onnxruntime"


def test_a_home_that_cannot_be_written_is_a_problem() -> None:
    finding = _found(Settings(home="/proc/none"), "home")
    assert (finding.verdict, "AWEIGH_HOME" in finding.hint) == (Verdict.PROBLEM, True)


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        finding = _found(Settings(home=str(tmp_path), port=taken.getsockname()[1]), "port")
    assert (finding.verdict, "--port 0" in finding.hint) == (Verdict.NOTE, True)


def test_the_exit_code_tells_of_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for home, code in ((str(tmp_path), 0), ("/proc/none", 1)):
        with pytest.raises(SystemExit) as ended:
            cli.main(["doctor", "--json", "--port", "0", "--home", home])
        assert (int(ended.value.code or 0), json.loads(capsys.readouterr().out)["passed"]) == (code, code == 0)
