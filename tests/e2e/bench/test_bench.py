"""The bench as a person runs it: the bare loop answers rightly and is timed; nothing is left running."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.peers import PEERS
from bench.processes import BenchError, running, tree
from bench.scenarios import SCENARIOS
from bench.workload import Workload

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    return SCENARIOS["iris"](tmp_path_factory.mktemp("iris"))


def test_the_bare_loop_answers_rightly_and_ends(workload: Workload, tmp_path: Path) -> None:
    with PEERS["bare-loop"].start(workload, tmp_path) as started:
        assert started.process.cpu_s() > 0
        assert started.process.memory_mb() > 1
    assert started.process.ended


def test_wrong_answers_are_not_timed(workload: Workload, tmp_path: Path) -> None:
    wrong = dataclasses.replace(workload, expected={"label": [7]})
    with pytest.raises(BenchError, match="not timed"), PEERS["bare-loop"].start(wrong, tmp_path):
        pass


def test_a_server_that_fails_says_why(tmp_path: Path) -> None:
    with running("broken", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], tmp_path, {}) as server:
        server.process.wait(20)
        assert "status 3" in str(server.failure())
        assert "the reason" in str(server.failure())


def test_children_end_with_their_server(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print('up', flush=True); time.sleep(60)"
    with running("parent", [sys.executable, "-c", code], tmp_path, {}) as server:
        while not server.log.read_text():
            assert not server.ended
            time.sleep(0.01)
        pids = tree(server.process.pid)
        assert len(pids) == 2
    stat = Path(f"/proc/{pids[1]}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_a_whole_run(tmp_path: Path) -> None:
    for needed, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(needed) is None:
            pytest.skip(f"needs {needed} (Debian package {package})")
    before = set((ROOT / "bench" / "results").glob("iris-*.json"))
    command = [sys.executable, "-m", "bench", "--scenario", "iris", "--servers", "bare-loop,bare-loop", "--rounds", "1", "--seconds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    (written,) = set((ROOT / "bench" / "results").glob("iris-*.json")) - before  # those of peers are written by tests beside this one
    tables = json.loads(written.read_text())["tables"]
    written.unlink()
    assert [table["load"] for table in tables] == ["rest", "grpc"]
    assert all(line["per_second"] > 0 and line["cpu_ms_per_thousand"] > 0 for table in tables for line in table["lines"])
