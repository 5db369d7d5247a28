"""The rendered unit before systemd's own reader, where it is installed: `systemd-analyze verify`, and how exposed it says the service is."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.unit.deploy.jobs import job, render, target, wrong

UNIT = "aweigh-fraud.service"


def test_systemd_takes_the_unit_and_finds_little_exposed(tmp_path: Path, program: Callable[[str], str]) -> None:
    analyze = program("systemd-analyze")
    one = job(tmp_path, "systemd", set_={"program": "/usr/bin/true", "api_keys_file": "/etc/hostname"})
    render(tmp_path, "systemd", one)
    assert target("systemd").check(tmp_path, one) == []
    words = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", str(tmp_path / UNIT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-500:]
    path = tmp_path / UNIT
    path.write_text(path.read_text().replace("ProtectSystem=strict", "ProtectSystem=stricct"))
    assert "stricct" in wrong(target("systemd").check(tmp_path, one))[0]
