"""A session that answers otherwise than its source never becomes ready, on every road that makes one; the reason names golden case, row and inputs.

Two corruptions: weights that are not those that were proven (version 2 of `linear`), and another processor: a runtime plug-in, installed beside aweigh, that
adds noise once a file says so. A byte that changes on the disk is found before, by its digest.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.serving.models import WEIGHTS, linear
from tests.serving.served import AWEIGH, Served

import aweigh
from aweigh.core.errors import AweighError, GoldenMismatch, InvalidFile
from aweigh.core.names import model_name, parse_reference
from aweigh.core.protocols import Draft
from aweigh.store import Store

NAMED = re.compile(r"golden case '[a-z0-9-]+'[^:]*, row \d+: output '\w+': expected .+, got .+, for inputs X=\[")
NOISE = '''
"""onnxruntime on a processor that rounds otherwise."""

from pathlib import Path

from aweigh.runtimes.onnxruntime import OnnxRuntime


class Noise(OnnxRuntime):
    name = "noise"

    def load(self, variant, signature, path):
        return Noisy(super().load(variant, signature, path))


class Noisy:
    def __init__(self, session):
        self._session = session
        self._loud = Path(__file__).with_name("loud").exists()
        self.concurrent = True
        self.isolated = False

    def run(self, inputs):
        best, scores = self._session.run(inputs)
        return [best, scores * 1.01 if self._loud else scores]

    def close(self):
        self._session.close()
'''
PIPELINE = '[[step]]\nname = "scores"\nmodel = "linear:{version}"\ninputs = ["X"]\n'


def contents(package: Any) -> dict[str, bytes | Path]:
    return {file.path: package.path(file.path).read_bytes() for file in package.manifest.files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `linear:1`, which is well, `linear:2`, one of whose weights is not the proven one, and `noisy`; and the plug-in's folder."""
    folder = tmp_path_factory.mktemp("corrupted")
    sample = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    package = aweigh.pack(str(linear(folder)), "linear", sample=sample, home=str(folder / "home"))
    files, store = contents(package), Store(folder / "home" / "store")
    manifest = msgspec.structs.replace(package.manifest, files=())
    wrong = WEIGHTS.copy()
    wrong[2, 1] *= np.float32(1.01)
    model = next(name for name in files if name.endswith(".onnx"))
    changed = Path(linear(folder, wrong)).read_bytes()
    store.publish(model_name("linear"), Draft(manifest=manifest, files={**files, model: changed}))
    variant = msgspec.structs.replace(manifest.variants[0], runtime="noise")
    store.publish(model_name("noisy"), Draft(manifest=msgspec.structs.replace(manifest, variants=(variant,)), files=files))
    plugin = folder / "site" / "noise-1.0.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: noise\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[aweigh.runtime]\nnoise = noise:Noise\n")
    (folder / "site" / "noise.py").write_text(NOISE)
    (folder / "rows.csv").write_text("X_0,X_1,X_2,X_3\n1,2,3,4\n")
    return folder


@pytest.fixture
def shelf(made: Path, tmp_path: Path) -> Path:
    """A copy of it all."""
    shutil.copytree(made, tmp_path / "all")
    return tmp_path / "all"


@pytest.fixture
def loud(shelf: Path) -> Path:
    (shelf / "site" / "loud").touch()
    return shelf


def run(folder: Path, *words: str) -> tuple[int, str]:
    """A command that is to end by itself; exit code and all it said."""
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(folder / "home"), "PYTHONPATH": str(folder / "site")}
    done = subprocess.run(list(words), capture_output=True, text=True, timeout=60, env=env, cwd=folder, check=False)
    return done.returncode, done.stdout + done.stderr


def post(server: Served, path: str, body: object) -> tuple[int, str]:
    request = urllib.request.Request(f"http://{server.target}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def refuses(folder: Path, *words: str) -> None:
    code, said = run(folder, *words)
    assert code == 1, said
    assert NAMED.search(" ".join(said.replace('\\"', '"').split())), said


ROADS = {
    "predict": ("predict", "{model}", "rows.csv"),
    "serve": ("serve", "{model}", "--port", "0"),
    "serve-in-a-process": ("serve", "{model}", "--port", "0", "--executor", "process"),
    "workers": ("serve", "{model}", "--port", "0", "--workers", "2"),
    "evaluate": ("evaluate", "{model}", "rows.csv", "--labels", "X_0", "--task", "regression"),
}


@pytest.mark.parametrize("road", ROADS)
def test_a_wrong_weight(shelf: Path, road: str) -> None:
    refuses(shelf, str(AWEIGH), *(word.format(model="linear:2") for word in ROADS[road]))


@pytest.mark.parametrize("road", ["predict", "serve", "workers"])
def test_another_processor(shelf: Path, road: str) -> None:
    code, said = run(shelf, str(AWEIGH), "predict", "noisy", "rows.csv")
    assert code == 0, said
    (shelf / "site" / "loud").touch()
    refuses(shelf, str(AWEIGH), *(word.format(model="noisy") for word in ROADS[road]))


@pytest.mark.parametrize("what", ["weight", "processor", "byte"])
def test_the_server_is_never_ready(shelf: Path, what: str) -> None:
    """Asked all the time while it starts, `/v2/health/ready` never says yes; the server ends and names the reason."""
    model = {"weight": "linear:2", "processor": "noisy", "byte": "linear:1"}[what]
    if what == "processor":
        (shelf / "site" / "loud").touch()
    file = change_a_byte(shelf) if what == "byte" else ""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(shelf / "home"), "PYTHONPATH": str(shelf / "site")}
    command = [str(AWEIGH), "serve", model, "--port", str(port)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=shelf)
    ready = False
    ends = time.monotonic() + 60
    try:
        while started.poll() is None and time.monotonic() < ends:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2) as answer:
                    ready |= answer.status == 200
            except OSError:
                time.sleep(0.02)
    finally:
        started.kill()
        said = " ".join(started.communicate(timeout=20)[0].split())
    assert not ready
    assert started.returncode > 0, said
    assert file in said if file else NAMED.search(said), said


def test_python(shelf: Path) -> None:
    for load in (aweigh.load, aweigh.asgi):
        with pytest.raises(GoldenMismatch, match=NAMED):
            load("linear:2", home=str(shelf / "home"))
    with pytest.raises(AweighError, match=NAMED):
        aweigh.Server(port=0, home=str(shelf / "home")).add("linear:2").start()
    code, said = run(shelf, sys.executable, "-c", "import aweigh; aweigh.load('noisy')")
    assert code == 0, said
    (shelf / "site" / "loud").touch()
    code, said = run(shelf, sys.executable, "-c", "import aweigh; aweigh.load('noisy')")
    assert code == 1
    assert NAMED.search(said), said


def test_a_load_by_request_leaves_what_answers(shelf: Path) -> None:
    server = Served(shelf / "home", "linear:1", "--version-policy", "all")
    try:
        code, said = post(server, "/v2/repository/models/linear/load", {})
        assert code >= 400, said
        assert NAMED.search(json.loads(said)["error"]), said
        assert server.get("/v2/models/linear/versions/1/ready") == b""
        with pytest.raises(urllib.error.HTTPError):
            server.get("/v2/models/linear/versions/2/ready")
    finally:
        assert server.end() == 0


def test_a_rollout_never_begins(shelf: Path) -> None:
    server = Served(shelf / "home", "linear:1")
    try:
        for steps in ((), ("--canary", "10%"), ("--shadow", "100%")):
            refuses(shelf, str(AWEIGH), "promote", "linear:2", *steps, "--url", f"http://{server.target}")
        code, said = post(
            server, "/v2/models/linear/infer", {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
        )
        assert (code, json.loads(said)["model_version"]) == (200, "1")
    finally:
        assert server.end() == 0


def test_a_part_of_a_pipeline(shelf: Path) -> None:
    (shelf / "pipe.toml").write_text(PIPELINE.format(version=2))
    np.save(shelf / "sample.npy", np.ones((4, 4), dtype=np.float32))
    refuses(shelf, str(AWEIGH), "pack", "pipe.toml", "--name", "pipe", "--sample", "sample.npy")
    (shelf / "pipe.toml").write_text(PIPELINE.format(version=1).replace("linear:1", "noisy"))
    code, said = run(shelf, str(AWEIGH), "pack", "pipe.toml", "--name", "pipe", "--sample", "sample.npy")
    assert code == 0, said
    (shelf / "site" / "loud").touch()
    refuses(shelf, str(AWEIGH), "serve", "pipe", "--port", "0")


def test_verify_says_it_too(shelf: Path) -> None:
    code, said = run(shelf, str(AWEIGH), "verify", "linear:2", "--html", "page.html")
    assert code == 1
    assert "FAILED" in said
    page = (shelf / "page.html").read_text()
    assert "FAILED" in page
    assert "<svg" in page


def test_a_byte_on_the_disk_is_found_by_its_digest(shelf: Path) -> None:
    path = change_a_byte(shelf)
    with pytest.raises(InvalidFile, match=re.escape(path)):
        aweigh.load("linear:1", home=str(shelf / "home"))


def change_a_byte(shelf: Path) -> str:
    """One weight of `linear:1` changed on the disk; the path of its file in the package."""
    package = Store(shelf / "home" / "store").open(parse_reference("linear:1"))
    file = next(file for file in package.manifest.files if file.path.endswith(".onnx"))
    blob = shelf / "home" / "store" / "blobs" / "sha256" / file.digest.removeprefix("sha256:")
    data = bytearray(blob.read_bytes())
    at = data.index(WEIGHTS.tobytes()) + 3
    data[at] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(bytes(data))
    return file.path
