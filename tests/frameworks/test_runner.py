"""The runner over LiteRT: an INT8 network as TensorFlow quantised it, its own answers to the byte, without numpy."""

import http.client
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.frameworks.tensorflow_models import NETWORKS
from tests.runner.kit import lay_out, once, running

import aweigh
from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.runner_library import this_machine

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(900)]

SAVING = (
    NETWORKS
    + """
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

def keep(name, data, x):
    open(f"{name}.tflite", "wb").write(data)
    interpreter = Interpreter(model_content=data)
    given, told = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    np.save(f"{name}-x.npy", x)
    np.save(f"{name}-y.npy", interpreter.get_tensor(told["index"]))

model, x = made(MODELS["cnn"])
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([x[at : at + 1]] for at in range(50))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
data = converter.convert()
scale, zero = Interpreter(model_content=data).get_input_details()[0]["quantization"]
keep("cnn", data, np.clip(np.round(x / scale) + zero, -128, 127).astype("int8"))
model, x = made(MODELS["dense"])
keep("dense", tf.lite.TFLiteConverter.from_keras_model(model).convert(), x)
"""
)


CACHE = Path(os.environ.get("AWEIGH_TEST_CACHE", "~/.cache/aweigh-tests")).expanduser()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("tensorflow", SAVING, tmp_path_factory.mktemp("tflite"))


@pytest.mark.parametrize("name", ["cnn", "dense"])
def test_an_int8_network_answers_as_litert_did(made: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))
    package = aweigh.pack(made / f"{name}.tflite", name, sample=made / f"{name}-x.npy")
    files = runner_bundle(package, package.manifest.variants[0], this_machine(), cache=CACHE)
    folder = lay_out(files, tmp_path / "bundle")

    told = once(folder, "--parts")
    assert (told["runtime"], told["library_version"]) == ("litert", "2.3.0")
    assert "numpy" not in told["modules"]
    spec, x = package.manifest.signature.inputs[0], np.load(made / f"{name}-x.npy")
    entry = {"name": spec.name, "shape": list(x.shape), "datatype": spec.datatype.value, "data": x.ravel().tolist()}
    with running(folder, "--port", "0") as process:
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        connection.request("POST", f"/v2/models/{name}/infer", json.dumps({"inputs": [entry]}))
        (output,) = json.loads(connection.getresponse().read())["outputs"]
        connection.close()
    own = np.load(made / f"{name}-y.npy")
    np.testing.assert_allclose(
        np.reshape(output["data"], output["shape"]), own, rtol=0 if name == "cnn" else 1e-4, atol=0 if name == "cnn" else 1e-5
    )
