"""An INT8 TFLite package on Cloud Run: its image, its golden set, its size and cold start, beside those of an ONNX one."""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.deploying.packages import deploy
from tests.frameworks.kit import make
from tests.images import BuiltImage, aweigh, debian_base, iris_image, run_container, unpack

from aweigh.app.packages import open_store
from aweigh.core.golden import read_golden
from aweigh.core.names import parse_reference
from aweigh.core.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.alone, pytest.mark.timeout(600)]
TIMES = 5
MAKING = """
import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3, activation="softmax")])
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([x[at : at + 1]] for at in range(64))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
open("small.tflite", "wb").write(converter.convert())
np.save("sample.npy", np.clip(np.round(x * 32), -128, 127).astype("int8"))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The package `small`, and its image with the runner."""
    folder = make("tensorflow", MAKING, tmp_path_factory.mktemp("int8"))
    home = folder / "home"
    aweigh(home, "pack", str(folder / "small.tflite"), "--name", "small", "--sample", str(folder / "sample.npy"))
    layout = folder / "image"
    words = (
        "image",
        "small",
        "--runner",
        "--variant",
        "litert",
        "--base",
        debian_base(),
        "--platform",
        "linux/amd64",
        "--to",
        f"oci:{layout}:v1",
        "--json",
    )
    return BuiltImage(layout=layout, tag="v1", home=home, model="small", document=json.loads(aweigh(home, *words)))


def size_mb(image: BuiltImage) -> float:
    """Compressed, all layers."""
    return sum(layer["size"] for layer in image.manifest()["layers"]) / 1e6


def cold_ms(bundle: Path, folder: Path, environment: dict[str, str]) -> float:
    """From runc until it is ready, its golden set answered: the median of some."""
    times = []
    for at in range(TIMES):
        with run_container(bundle, folder / f"cold-{at}", environment=environment, ready="") as started:
            times.append(started.wait_ready() * 1000)
    return statistics.median(times)


def test_it_answers_its_golden_set_and_is_told_beside_onnx(small: BuiltImage, tmp_path: Path) -> None:
    address = f"registry.example/team/small@{small.digest}"
    done = deploy(small.home, "small", "cloud-run", tmp_path / "out", image=address, scale="0..3", variant="litert")
    assert not done.findings
    container = yaml.safe_load((tmp_path / "out/service.yaml").read_bytes())["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == address
    environment = {each["name"]: each["value"] for each in container["env"]} | {"AWEIGH_HOST": "127.0.0.1", "HOST": "127.0.0.1"}
    package = open_store(Settings(home=str(small.home))).open(parse_reference("small"))
    variant = next(each for each in package.manifest.variants if each.name == "litert")
    assert (variant.runtime, variant.precision) == ("litert", "int8")
    bundle = unpack(small, tmp_path / "bundle")
    with run_container(bundle, tmp_path / "run", environment=environment, ready="/ready") as started:
        for answers in read_golden(package.manifest, package.path):
            inputs = [_tensor(spec, answers.inputs[spec.name]) for spec in package.manifest.signature.inputs]
            status, body = started.post("/v2/models/small/infer", {"inputs": inputs})
            assert status == 200, body
            for output, wanted in zip(json.loads(body)["outputs"], answers.outputs, strict=True):
                assert np.array_equal(np.asarray(output["data"], dtype=wanted.dtype).reshape(output["shape"]), wanted), answers.name
        assert started.stop() == 0
    onnx = iris_image("--runner")
    figures = [
        (name, size_mb(image), cold_ms(each, tmp_path / name, environment))
        for name, image, each in (("INT8 TFLite", small, bundle), ("ONNX", onnx, unpack(onnx)))
    ]
    for name, size, cold in figures:
        print(f"{name}: image of {size:.1f} MB, ready {cold:.0f} ms after runc was started")
    assert figures[0][1] < figures[1][1] < 90
    shutil.rmtree(bundle)


def _tensor(spec: Any, values: Any) -> dict[str, Any]:
    array = np.asarray(values)
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": list(array.shape), "data": array.ravel().tolist()}
