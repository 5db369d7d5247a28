"""What `aweigh deploy` prints of what was rendered, and what it offers as the next step."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from aweigh.app.deploy import Deployed
from aweigh.cli.deploy import _draw
from aweigh.cli.options import Run
from aweigh.cli.output import Output
from aweigh.core.settings import Settings
from aweigh.deploy.capacity import Capacity
from aweigh.deploy.target import Finding, Rendered

CAPACITY = Capacity(requests_per_second=100, latency_ms=1, memory_mib=100, start_s=1, measured=False, source="reckoned")


def drawn(capsys: pytest.CaptureFixture[str], findings: Sequence[Finding] = (), changed: Sequence[str] = ("new.yaml",)) -> str:
    rendered = Rendered(files={"new.yaml": b""}, commands=["docker compose up"])
    done = Deployed(
        name="iris", target="compose", folder=Path("iris-out"), rendered=rendered, changed=changed, findings=findings, capacity=CAPACITY
    )
    _draw(Run(settings=Settings(), origins=[], output=Output()), done)
    return capsys.readouterr().out


def test_the_commands_by_hand_name_their_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert "apply it with --apply, or by hand, in iris-out:\n  docker compose up\n" in drawn(capsys)


def test_after_a_fatal_finding_nothing_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    said = drawn(capsys, [Finding(place="new.yaml", message="is wrong")])
    assert said.endswith("nothing can be applied before that is mended\n")
    assert "docker compose up" not in said
    assert "docker compose up" in drawn(capsys, [Finding(place="new.yaml", message="is odd", fatal=False)])


def test_removed_files_are_listed_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    said = drawn(capsys, changed=("new.yaml", "old.yaml"))
    assert "  new.yaml\n  old.yaml (removed)\n" in said
