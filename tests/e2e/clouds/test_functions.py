"""The function and the scoring script under the vendors' own servers: Google's functions-framework, Azure's azureml-inference-server-http."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.e2e.clouds.conftest import ROWS, Deploy, ask, free_port, right, running
from tests.toolboxes import toolbox

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(400)]
# asks the server beside it, in a network that has nothing but loopback: Azure's server listens at every address
ASK = """
import json, subprocess, sys, time, urllib.error, urllib.request
server = subprocess.Popen(sys.argv[3:], stdout=sys.stderr)
url = "http://127.0.0.1:" + sys.argv[1]
try:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            break
        except OSError:
            time.sleep(0.1)
            if server.poll() is not None:
                sys.exit("the server ended")
    found = []
    for body in json.loads(sys.argv[2]):
        request = urllib.request.Request(url + "/score", json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                found.append([answer.status, json.loads(answer.read())])
        except urllib.error.HTTPError as error:
            found.append([error.code, error.read().decode()])
    print(json.dumps(found))
finally:
    server.terminate()
    server.wait(20)
"""


def test_functions_framework_answers(deploy: Deploy, tmp_path: Path) -> None:
    assert deploy("cloud-functions", tmp_path / "out", "region=europe-west1").findings == []
    flags = yaml.safe_load((tmp_path / "out/function.yaml").read_bytes())
    assert (flags["--runtime"], flags["--entry-point"]) == ("python312", "predict")
    port = free_port()
    words = [toolbox("google") / "functions-framework", "--target", flags["--entry-point"], "--host", "127.0.0.1"]
    with running(words, port, environment={"PORT": str(port), "ORT_DISABLE_TELEMETRY": "1"}, folder=tmp_path / "out"):
        status, said = ask(port, "POST", "/", ROWS)
        assert status == 200
        assert right(said["predictions"])
        status, said = ask(port, "POST", "/anything", {"rows": [[1.0]]})
        assert status == 400
        assert "row 0 is not a list of 4 values" in said["error"]
        assert right(ask(port, "POST", "/", {"rows": ROWS})[1]["predictions"])


def test_azures_own_server_runs_the_scoring_script(deploy: Deploy, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs leave to make a namespace without a network")
    assert deploy("azureml", tmp_path / "out").findings == []
    port = str(free_port())
    bodies = [ROWS, {"input_data": {"columns": ["x_0", "x_1", "x_2", "x_3"], "index": [0, 1], "data": ROWS}}, {"rows": [[1.0]]}]
    server = [str(toolbox("azure") / "azmlinfsrv"), "--entry_script", "score.py", "--port", port]
    inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-c", ASK, port, json.dumps(bodies), *server]
    environment = {"PATH": f"{toolbox('azure')}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": "1"}
    command = ["unshare", "--net", *inside]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment, cwd=tmp_path / "out/code")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    first, second, third = json.loads(done.stdout.strip().splitlines()[-1])
    for status, said in (first, second):
        assert status == 200
        assert right(said["predictions"])
    assert third[0] == 400
    assert "row 0 is not a list of 4 values" in str(third[1])
