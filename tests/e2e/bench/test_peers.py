"""The comparison as a person runs it, with the smallest peer: its environment is made, it answers rightly, and the report holds both."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench import document, report

ROOT = Path(__file__).parents[3]


@pytest.mark.index
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fastapi_beside_aweigh() -> None:
    for needed, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if shutil.which(needed) is None:
            pytest.skip(f"needs {needed} (Debian package {package})")
    command = [sys.executable, "-m", "bench", "--peers", "aweigh,fastapi", "--scenario", "iris", "--concurrency", "8", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = document.newest(report.RESULTS, ["iris"])
    rest, silent = found.cell("fastapi", "rest", 8), found.cell("fastapi", "grpc", 8)
    assert rest is not None
    assert silent is not None
    assert rest.samples, rest.silence
    assert rest.cpu_ms_per_thousand > 0
    assert silent.silence == "FastAPI speaks no gRPC"
    assert found.servers["fastapi"].versions["fastapi"] != "not installed"
    assert "aweigh is" in done.stdout
