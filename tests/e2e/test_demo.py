"""The demonstration, whole: what `make demo` shows is true."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AWEIGH = Path(sys.executable).parent / "aweigh"


@pytest.mark.slow
def test_the_demonstration_swaps_versions_without_losing_a_request(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "AWEIGH_HOME": str(tmp_path)}
    done = subprocess.run(
        [str(AWEIGH), "demo", "--json"], env=environment, capture_output=True, text=True, timeout=180, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [asked["protocol"] for asked in said["asked"]] == ["REST", "gRPC"]
    swapped = said["swapped"]
    assert (swapped["lost"], swapped["report"]["state"]) == (0, "promoted")
    assert swapped["versions"].keys() == {"1", "2"}
    assert swapped["report"]["compared"]["rows"] >= 300
