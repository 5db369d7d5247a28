"""What is rendered for Cloud Functions: processors and memory that Google takes together, and time for what takes its time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.deploy.jobs import job, render, target, wrong

from aweigh.deploy.commands import Commands
from aweigh.deploy.google import MEMORY_OF_CPU, Google, cpu_of, memory_mistake
from aweigh.deploy.targets import cloud_functions

KIND = "cloud-functions"


def flags(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: str) -> tuple[Any, list[str]]:
    """The flags, and what is found wrong; the runner itself is not what is looked at."""
    monkeypatch.setattr(cloud_functions, "runner_bundle", lambda *_, **__: {"run.py": b""})
    one = job(folder, KIND, set_=options)
    render(folder / "out", KIND, one)
    return yaml.safe_load((folder / "out/function.yaml").read_bytes()), wrong(target(KIND).check(folder / "out", one))


@pytest.mark.parametrize(("memory_mib", "cpu"), [("512", "1"), ("4096", "1"), ("8192", "2"), ("16384", "4"), ("32768", "8")])
def test_processors_follow_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mib: str, cpu: str) -> None:
    said, found = flags(tmp_path, monkeypatch, memory_mib=memory_mib)
    assert (said["--memory"], said["--cpu"], found) == (f"{memory_mib}Mi", cpu, [])


def test_memory_that_google_would_refuse_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags(tmp_path, monkeypatch)
    path = tmp_path / "out/function.yaml"
    path.write_text(path.read_text().replace("512Mi", "8192Mi"))
    assert wrong(target(KIND).check(tmp_path / "out", job(tmp_path, KIND))) == ["function.yaml: --memory: 8192 MiB need 2 processors"]


def test_what_goes_together() -> None:
    for cpu, (least, most) in MEMORY_OF_CPU.items():
        assert memory_mistake(cpu, least) == memory_mistake(cpu, most) == ""
        assert cpu_of(most) == cpu
        assert memory_mistake(cpu, least - 1)
    assert memory_mistake(8, 40000) == "40000 MiB need more processors"
    assert memory_mistake(3, 4096) == "cpu is '3': it may be 1, 2, 4, 6, 8"


def test_googles_client_has_time_for_an_endpoint_of_vertex() -> None:
    limits = []

    class Timed(Commands):
        def run(self, words: Sequence[str], *, stdin: bytes = b"", folder: Path | None = None, timeout_s: float = 600) -> str:
            limits.append(timeout_s)
            return ""

    Google(Timed(), project="", region="").call("ai", "endpoints", "deploy-model")
    assert min(limits) >= 1800
