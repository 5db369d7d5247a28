"""Targets of one machine: what is rendered passes its own checks, is closed to others, and what a person breaks in it is told."""

import itertools
from pathlib import Path

import pytest
import yaml
from tests.unit.deploy.jobs import IMAGE, job, render, target, wrong

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput
from aweigh.deploy.command_text import read_script, script_text
from aweigh.deploy.target import Scale
from aweigh.deploy.targets.compose import literal
from aweigh.deploy.unit_text import read_unit, unit_text

KINDS = ("docker", "compose", "podman", "systemd")
FILES = {"docker": "run.sh", "compose": "compose.yaml", "podman": "pod.yaml", "systemd": "aweigh-fraud.service"}
HOSTILE = ["x; id", "$(id)", "`id`", "'", '"', "a b", "--privileged", "%n", "$HOME", "\\", "#x", "é", "a\\nb", "{{7*7}}"]


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chosen", [{}, {"publish": "0.0.0.0:80", "api_keys_file": "/etc/fraud/my keys"}])
def test_what_is_rendered_passes_its_own_checks(tmp_path: Path, kind: str, chosen: dict[str, str]) -> None:
    one = job(tmp_path, kind, set_=chosen, scale=Scale())
    assert list(render(tmp_path / "out", kind, one).files) == [FILES[kind]]
    assert target(kind).check(tmp_path / "out", one) == []
    assert "ORT_DISABLE_TELEMETRY" in (tmp_path / "out" / FILES[kind]).read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_else_may_ask_without_keys(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InvalidInput, match="no API keys are asked for"):
        target(kind).render(job(tmp_path, kind, set_={"publish": "0.0.0.0:8080"}))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gone_or_broken_is_told(tmp_path: Path, kind: str) -> None:
    one = job(tmp_path, kind)
    render(tmp_path, kind, one)
    path = tmp_path / FILES[kind]
    path.write_text("a: [\n" if path.suffix == ".yaml" else "echo $(id)\n")
    assert wrong(target(kind).check(tmp_path, one))
    path.unlink()
    assert wrong(target(kind).check(tmp_path, one))


def test_docker_is_given_words_and_the_limits(tmp_path: Path) -> None:
    render(tmp_path, "docker", job(tmp_path, "docker"))
    words = read_script((tmp_path / "run.sh").read_bytes(), place="run.sh")[0]
    assert words[:5] == ["docker", "run", "--detach", "--name", "fraud"]
    assert words[-1] == IMAGE
    at = dict(itertools.pairwise(words))
    assert (at["--publish"], at["--memory"], at["--cap-drop"], at["--stop-timeout"]) == ("127.0.0.1:8080:8080", "128m", "ALL", "35")
    assert "--read-only" in words


def test_compose_publishes_where_the_server_listens(tmp_path: Path) -> None:
    one = job(tmp_path, "compose")
    render(tmp_path, "compose", one)
    path = tmp_path / "compose.yaml"
    server = yaml.safe_load(path.read_bytes())["services"]["server"]
    assert (server["read_only"], server["cap_drop"], server["stop_grace_period"]) == (True, ["ALL"], "35s")
    path.write_text(path.read_text().replace("target: 8080", "target: 8081"))
    assert wrong(target("compose").check(tmp_path, one)) == [
        "compose.yaml: $.services.server.ports: publishes port 8081, and the server listens on 8080"
    ]
    assert literal({"a": ["$HOME", 1], "b": "x$$"}) == {"a": ["$$HOME", 1], "b": "x$$$$"}


def test_podman_is_given_what_kubernetes_runs_with_a_port_of_the_machine(tmp_path: Path) -> None:
    one = job(tmp_path, "podman")
    render(tmp_path, "podman", one)
    pod = yaml.safe_load((tmp_path / "pod.yaml").read_bytes())
    server = pod["spec"]["containers"][0]
    assert server["ports"] == [{"name": "http", "containerPort": 8080, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "TCP"}]
    assert "livenessProbe" not in server
    path = tmp_path / "pod.yaml"
    path.write_text(path.read_text().replace("containerPort: 8080", "containerPort: 808000"))
    assert "<= 65535" in wrong(target("podman").check(tmp_path, one))[0]


def test_a_unit_that_is_misspelt_is_told(tmp_path: Path) -> None:
    one = job(tmp_path, "systemd")
    render(tmp_path, "systemd", one)
    path = tmp_path / FILES["systemd"]
    good = path.read_text()
    for old, new, said in (
        ("ProtectSystem=", "ProtectSytem=", "'ProtectSytem' is not known"),
        ("[Install]", "[Instal]", "no section [Install]"),
        ("ExecStart=/", "ExecStart=", "no absolute path"),
        ("Type=exec", "exec", "neither a section nor KEY=VALUE"),
    ):
        path.write_text(good.replace(old, new))
        found = wrong(target("systemd").check(tmp_path, one))
        assert any(said in each for each in found), (said, found)
    assert "AWEIGH_HOST=127.0.0.1" in good
    assert "DynamicUser=yes" in good


@pytest.mark.parametrize("word", HOSTILE)
def test_words_of_commands_come_back_as_they_were(word: str) -> None:
    made = script_text(["program", "--name", word, f"--x={word}", word], said=[word])
    assert read_script(made, place="made") == [["program", "--name", word, f"--x={word}", word]]


@pytest.mark.parametrize("text", ["program `id`\n", "a; b\n", "a $(b)\n", "a | b\n", "a > b\n", "a 'b\n", "a & b\n"])
def test_what_only_a_shell_could_run_is_refused(text: str) -> None:
    with pytest.raises(InvalidFile):
        read_script(b"#!/bin/sh\nset -eu\n" + text.encode(), place="run.sh")


def test_a_line_end_in_a_word_is_refused() -> None:
    for word in ("a\nb", "a\0b"):
        with pytest.raises(InvalidInput):
            script_text(["program", word])


@pytest.mark.parametrize("word", HOSTILE)
def test_values_of_units_are_no_structure(word: str) -> None:
    try:
        made = unit_text({"Service": [("ExecStart", ["/bin/x", word]), ("Description", word), ("After", "y")]}, said=[word])
    except AweighError:
        assert word == "\\"
        return
    found = read_unit(made, place="made")
    assert [key for key, _ in found["Service"]] == ["ExecStart", "Description", "After"]
    assert list(found) == ["Service"]
    assert "%n" not in found["Service"][1][1].replace("%%", "")


def test_a_line_end_in_a_unit_is_refused() -> None:
    for text in ("a\nExecStart=/bin/id", "a\r", "a\u2028b"):
        with pytest.raises(InvalidInput):
            unit_text({"Service": [("Description", text)]})
