"""What people get wrong at the command line: the right error, its hint, its exit code, and nothing left behind."""

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

AWEIGH = Path(sys.executable).parent / "aweigh"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(folder / "home")}
    return subprocess.run([AWEIGH, *words], capture_output=True, text=True, timeout=60, env=env, cwd=folder, check=False)


@pytest.fixture(scope="module")
def model_bytes() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["X", "X"], ["Y"])],
        "square",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", 2])],
    )
    model: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    onnx.checker.check_model(model)
    return model


def test_an_unknown_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("hello")
    done = run(tmp_path, "pack", "model.onnx")
    assert done.returncode == 2
    assert "not a format that aweigh knows" in done.stderr
    assert "hint:" in done.stderr
    assert not (tmp_path / "home" / "store").exists()


def test_a_truncated_file(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes[:-9])
    done = run(tmp_path, "pack", "model.onnx", "--json")
    assert done.returncode == 2
    failure = json.loads(done.stdout)["error"]
    assert failure["code"] == "invalid-file"
    assert "truncated" in failure["message"]


def test_a_pickle_without_trust(tmp_path: Path) -> None:
    model = LogisticRegression().fit(np.eye(2), [0, 1])
    (tmp_path / "model.onnx").write_bytes(pickle.dumps(model))
    done = run(tmp_path, "pack", "model.onnx", "--json")
    assert done.returncode == 1
    failure = json.loads(done.stdout)["error"]
    assert failure["code"] == "not-trusted"
    assert "--trust" in failure["hint"]
    assert "LogisticRegression" in failure["message"]


def test_a_missing_file_and_a_missing_model(tmp_path: Path) -> None:
    done = run(tmp_path, "pack", "nowhere.onnx")
    assert (done.returncode, "nowhere.onnx" in done.stderr) == (3, True)
    done = run(tmp_path, "serve", "nothing")
    assert (done.returncode, "there is no model 'nothing'" in done.stderr) == (3, True)


def test_a_port_in_use(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(tmp_path, "serve", "model.onnx", "--port", port)
    assert done.returncode == 4
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert "--port 0" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"), [(["--host", "0.0.0.0"], "--api-key-file"), (["--host", "no.such.host.invalid", "--no-auth"], "127.0.0.1")]
)
def test_an_address_that_cannot_be(tmp_path: Path, model_bytes: bytes, words: list[str], said: str) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    done = run(tmp_path, "serve", "model.onnx", "--port", "0", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_home_that_cannot_be_written(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    (tmp_path / "home").write_text("a file where the folder should be")
    done = run(tmp_path, "pack", "model.onnx")
    assert done.returncode == 4
    assert str(tmp_path / "home") in done.stderr
    assert "hint:" in done.stderr


def test_a_wrong_name_setting_and_sample(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    assert "lower-case letters" in run(tmp_path, "pack", "model.onnx", "--name", "../x").stderr
    assert "expected 0 to 65535" in run(tmp_path, "serve", "model.onnx", "--port", "70000").stderr
    (tmp_path / "sample.npy").write_bytes(b"no array")
    done = run(tmp_path, "pack", "model.onnx", "--sample", "sample.npy")
    assert (done.returncode, "sample.npy" in done.stderr) == (2, True)
    np.save(tmp_path / "sample.npy", np.zeros((5, 3), dtype=np.float32))
    done = run(tmp_path, "pack", "model.onnx", "--sample", "sample.npy")
    assert done.returncode == 2
    assert "X" in done.stderr
    assert run(tmp_path, "models", "--json").stdout.split() == ["{", '"models":', "[]", "}"]


def test_predict_names_column_and_row(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    assert run(tmp_path, "pack", "model.onnx", "--name", "square").returncode == 0
    (tmp_path / "in.csv").write_text("X_0,X_1\n1,2\n3,x\n")
    done = run(tmp_path, "predict", "square", "in.csv")
    assert done.returncode == 2
    assert "row 1: column 'X_1' holds 'x', expected a number" in done.stderr
    (tmp_path / "in.csv").write_text("X_0,X_2\n1,2\n")
    assert "unexpected column" in run(tmp_path, "predict", "square", "in.csv").stderr
    (tmp_path / "in.csv").write_text("X_0,X_1\n1,2\n")
    done = run(tmp_path, "predict", "square", "in.csv", "--out", "nowhere/out.csv")
    assert done.returncode == 4
    assert not (tmp_path / "nowhere").exists()
    done = run(tmp_path, "predict", "square", "in.csv", "--out", "out.csv")
    assert done.returncode == 0
    assert (tmp_path / "out.csv").read_text().startswith("Y")


def test_a_damaged_package_is_never_served(tmp_path: Path, model_bytes: bytes) -> None:
    """The port answers from the start, so a model that may not answer takes the server down again, with its reason."""
    (tmp_path / "model.onnx").write_bytes(model_bytes)
    assert run(tmp_path, "pack", "model.onnx", "--name", "square").returncode == 0
    blobs = (tmp_path / "home" / "store" / "blobs" / "sha256").iterdir()
    blob = next(blob for blob in blobs if b"square" in (data := blob.read_bytes()) and data[:1] == b"\x08")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes().replace(b"Mul", b"Add"))
    done = run(tmp_path, "serve", "square", "--port", "0", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "invalid-file"
    done = run(tmp_path, "verify", "square", "--json")
    assert done.returncode == 2
