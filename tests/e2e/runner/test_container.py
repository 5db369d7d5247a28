"""The runner in a container: a base like distroless, a read-only root, run by runc itself. Its first answer against what runc alone takes."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.images import RUNC, iris_image, unpack

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.budget, pytest.mark.index, pytest.mark.timeout(300)]

WITHIN_MS = 130.0
SLACK = 5.0
TIMES = 5


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A bundle of runc's over the image's root."""
    bundle = unpack(iris_image("--runner"))
    spec = json.loads((bundle / "config.json").read_text())
    spec["root"] = {"path": str((bundle / "rootfs").resolve()), "readonly": True}
    spec["process"] |= {"terminal": False, "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]}
    # a program that does nothing, of this machine: what runc alone takes
    spec["mounts"].append({"destination": "/true", "type": "bind", "source": "/bin/true", "options": ["bind", "ro"]})
    (tmp_path / "config.json").write_text(json.dumps(spec))
    return tmp_path


def run(bundle: Path, *words: str) -> tuple[float, str]:
    """Milliseconds until the first line, or the end where there is none, and the line."""
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"]["args"] = list(words)
    (bundle / "config.json").write_text(json.dumps(spec))
    name = f"aweigh-runner-{os.getpid()}-{time.monotonic_ns()}"
    began = time.perf_counter()
    ran = subprocess.Popen([*RUNC, "run", "--bundle", str(bundle), name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert ran.stdout is not None
        line = ran.stdout.readline()
        took = (time.perf_counter() - began) * 1000
        assert ran.wait(30) == 0
        return took, line
    finally:
        if ran.poll() is None:
            subprocess.run([*RUNC, "delete", "--force", name], capture_output=True, timeout=20, check=False)
            ran.wait(20)
        if ran.stdout is not None:
            ran.stdout.close()


def test_a_first_answer_after_what_runc_takes(container: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (*entry,) = json.loads((container / "config.json").read_text())["process"]["args"]
    turns = []
    for _ in range(TIMES):
        alone, _ = run(container, "/true")
        took, line = run(container, *entry, "--once")
        assert json.loads(line)["predictions"]
        turns.append((alone, took))
    alone, took = (min(each) for each in zip(*turns, strict=True))
    with capsys.disabled():
        print(f"\nrunc alone {alone:.0f} ms, with the runner's first answer {took:.0f} ms: {took - alone:.0f} ms more")
    assert took - alone <= WITHIN_MS * SLACK
