"""The road of a package through a real registry, with TLS and a password, by the commands that a person types."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.remotes.servers import PASSWORD, USER, docker_registry

AWEIGH = Path(sys.executable).with_name("aweigh")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An ONNX file of half a megabyte and rows for it."""
    folder = tmp_path_factory.mktemp("model")
    weights = np.random.default_rng(7).normal(size=(4, 32_000)).astype(np.float32)
    inside = helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("ReduceMax", ["p"], ["y"], axes=[1], keepdims=1)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("x", 4), ("y", 1)))
    made = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [inside]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    np.save(folder / "x.npy", np.arange(40, dtype=np.float32).reshape(10, 4))
    return folder


@pytest.fixture
def registry(program, tmp_path):
    with docker_registry(program("docker-registry"), tmp_path / "registry") as found:
        yield found


@pytest.fixture(scope="module")
def packed(model):
    """What packing said; the package is in the home 'here' beside the model."""
    return command(model / "here", model, ["pack", str(model / "m.onnx"), "--name", "widest", "--sample", str(model / "x.npy")])


@pytest.fixture
def run(model, packed, tmp_path):
    """Runs a command in the home of that name; 'here' holds widest:1."""

    def call(home, *words, password="", expect=0):
        return command((model if home == "here" else tmp_path) / home, tmp_path, words, password=password, expect=expect)

    return call


def command(home, user, words, *, password="", expect=0):
    environment = {**os.environ, "AWEIGH_HOME": str(home), "HOME": str(user)}
    done = subprocess.run([AWEIGH, *words, "--json"], input=password, capture_output=True, text=True, env=environment, timeout=90)
    assert done.returncode == expect, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_push_and_pull(packed, registry, run, program, tmp_path):
    address = f"{registry.host}/team/widest"
    known = ["--ca-file", str(registry.ca_file), "--username", USER, "--password-stdin"]

    pushed = run("here", "push", "widest", address, *known, password=PASSWORD)
    assert (pushed["digest"], pushed["tags"], pushed["kept"]) == (packed["digest"], ["v1"], 0)
    raw = subprocess.run(
        [program("skopeo"), "inspect", "--raw", "--creds", f"{USER}:{PASSWORD}", "--cert-dir", str(certificates(registry, tmp_path)),
         f"docker://{address}:v1"],
        capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert packed["digest"] == digest_of(raw)

    before = len(registry.requests())
    again = run("here", "push", "widest:1", address, *known, password=PASSWORD)
    assert (again["sent"], again["kept"]) == (0, pushed["sent"])
    asked = registry.requests()[before:]
    assert asked
    assert not [request for request in asked if request.startswith(("POST", "PATCH")) or ("PUT" in request and "blobs" in request)]

    pulled = run("there", "pull", address, *known, password=PASSWORD)
    assert (pulled["model"], pulled["digest"]) == ("widest:1", packed["digest"])
    assert pulled["variants"]
    assert all(variant["tried"] and variant["passed"] for variant in pulled["variants"]), "the golden set was replayed"
    assert run("there", "verify", "widest")["passed"]
    assert run("there", "fsck")["whole"]
    by_digest = run("third", "pull", f"{address}@{packed['digest']}", "--name", "other", *known, password=PASSWORD)
    assert (by_digest["model"], by_digest["digest"]) == ("other:1", packed["digest"])


def test_what_goes_wrong_says_so(registry, run, tmp_path):
    address, authority = f"{registry.host}/team/widest", ["--ca-file", str(registry.ca_file)]
    known = [*authority, "--username", USER, "--password-stdin"]

    def code(*words, expect, password=""):
        return run("here", *words, expect=expect, password=password)["error"]["code"]

    assert code("push", "widest", address, *known, password="wrong", expect=1) == "unauthenticated"
    assert code("push", "widest", address, *authority, expect=1) == "unauthenticated"
    assert code("push", "widest", address, expect=1) == "refused"
    assert code("push", "absent", address, *known, password=PASSWORD, expect=3) == "model-not-found"
    assert code("pull", address, *known, password=PASSWORD, expect=3) == "not-found"
    assert code("pull", address + ":v1", *known, password=PASSWORD, expect=3) == "not-found"
    assert code("push", "widest", "127.0.0.1:9/x", expect=4) == "unavailable"
    assert code("push", "widest", "nowhere/x", expect=2) == "invalid-input"
    assert code("push", "widest", address, "--username", USER, expect=2) == "wrong-use"
    assert code("push", "widest", address, "--ca-file", str(tmp_path / "absent.pem"), expect=2) == "invalid-input"


def test_docker_login_is_known(registry, run, tmp_path):
    (tmp_path / ".docker").mkdir()
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {registry.host: {"auth": token}}}))
    assert run("here", "push", "widest", f"{registry.host}/widest:blue", "--ca-file", str(registry.ca_file))["tags"] == ["blue"]


def test_a_push_that_is_killed_goes_on_from_there(model, registry, run, tmp_path):
    address = f"{registry.host}/team/widest"
    words = [AWEIGH, "push", "widest", address, "--ca-file", str(registry.ca_file), "--username", USER, "--password-stdin"]
    environment = {**os.environ, "AWEIGH_HOME": str(model / "here"), "HOME": str(tmp_path)}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        process.stdin.write(PASSWORD.encode())
        process.stdin.close()
        while process.poll() is None and sum("PUT" in request and "blobs" in request for request in registry.requests()) < 2:
            time.sleep(0.002)
        process.kill()
    known = ["--ca-file", str(registry.ca_file), "--username", USER, "--password-stdin"]
    done = run("here", "push", "widest", address, *known, password=PASSWORD)
    assert done["kept"] >= 2
    assert run("there", "pull", address, *known, password=PASSWORD)["digest"] == done["digest"]


def certificates(registry, folder):
    """A folder of certificates as skopeo wants it."""
    place = folder / "certificates"
    place.mkdir()
    (place / "ca.crt").write_bytes(registry.ca_file.read_bytes())
    return place


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()
