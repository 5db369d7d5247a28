"""Triton's own load generator, unchanged: REST with binary tensors and with JSON, gRPC, and gRPC streams. It reads our statistics too."""

import re
import shutil
import subprocess

import pytest
from tests.serving.served import Served


@pytest.mark.parametrize(
    "how",
    [["-i", "http"], ["-i", "http", "--input-tensor-format", "json", "--output-tensor-format", "json"], ["-i", "grpc"], ["-i", "grpc", "--streaming"]],
    ids=["http", "http json", "grpc", "grpc streaming"],
)  # fmt: skip
def test_a_short_run(server: Served, how: list[str]) -> None:
    program = shutil.which("perf_analyzer")
    if program is None or subprocess.run([program, "--version"], capture_output=True, timeout=20).returncode:
        pytest.skip("needs perf_analyzer (from the wheels perf-analyzer, or tritonclient up to 2.41 with libb64 and libcudart)")
    command = [program, "-m", "linear", "-u", server.target, "-p", "500", "-r", "3", "-s", "900", "--concurrency-range", "2", *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = re.search(r"Client:.*?Request count: (\d+)", done.stdout, re.DOTALL)
    counted = re.search(r"Successful request count: (\d+)", done.stdout)
    assert asked is not None
    assert counted is not None
    assert int(asked[1]) > 50
    assert int(counted[1]) >= int(asked[1])
