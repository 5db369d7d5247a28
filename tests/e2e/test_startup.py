"""`aweigh doctor NAME --target T`: what a start takes, by part, on the path that the target starts by."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploying.packages import pack_linear

from aweigh.app import startup as module
from aweigh.app.startup import PARTS, startup
from aweigh.core.errors import AweighError
from aweigh.core.settings import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    pack_linear(folder)
    return folder


def test_every_part_is_told_on_either_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMES", 1)
    small, whole = (startup(Settings(home=str(home)), "linear", target) for target in ("runner", "triton"))
    assert (small.path, whole.path) == ("runner", "server")
    for found in (small, whole):
        assert tuple(found.parts) == PARTS
        assert all(took >= 0 for took in found.parts.values())
        assert found.total_ms == pytest.approx(sum(found.parts.values()), abs=0.1)
    assert small.total_ms < whole.total_ms
    with pytest.raises(AweighError, match="nope"):
        startup(Settings(home=str(home)), "linear", "nope")


def test_a_target_without_a_model_is_wrong_use() -> None:
    command = [str(Path(sys.executable).parent / "aweigh"), "doctor", "--target", "runner", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "say both" in json.loads(done.stdout or done.stderr)["error"]["message"]
