"""TensorFlow Lite: files run by LiteRT, quantised ones as they are, packed from the base install."""

from pathlib import Path

import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.frameworks.tensorflow_models import NETWORKS

import aweigh
from aweigh.core.errors import AweighError
from aweigh.core.tensors import Datatype

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SAVING = (
    NETWORKS
    + """
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

def ask(file, x):
    interpreter = Interpreter(model_path=file)
    given, told = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(told["index"])

def keep(name, data, x):
    open(f"{name}.tflite", "wb").write(data)
    np.savez(f"{name}.npz", x=x, y=ask(f"{name}.tflite", x))
    np.save(f"{name}-sample.npy", x)

def quantised(model, x, kind):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[at : at + 1]] for at in range(50))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if kind == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()

for name in ("cnn", "transformer"):
    model, x = made(MODELS[name])
    data = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    keep(name, data, x)
    np.savez(f"{name}-keras.npz", y=model(x, training=False).numpy())
    if name == "cnn":
        keep("cnn-weights", quantised(model, x, "weights"), x)
        data = quantised(model, x, "int8")
        scale, zero = Interpreter(model_content=data).get_input_details()[0]["quantization"]
        keep("cnn-int8", data, np.clip(np.round(x / scale) + zero, -128, 127).astype("int8"))

model, x = made(lstm)
try:
    tf.lite.TFLiteConverter.from_keras_model(model).convert()
    open("lstm-converts", "w").close()
except Exception:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    converter._experimental_lower_tensor_list_ops = False
    open("lstm-flex.tflite", "wb").write(converter.convert())
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as frozen
fixed = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec([1, 8, 8, 1], tf.float32)])
data = tf.lite.TFLiteConverter.from_concrete_functions([frozen(fixed.get_concrete_function())]).convert()
open("lstm.tflite", "wb").write(data)
np.savez("lstm.npz", x=x[:1], y=ask("lstm.tflite", x[:1]), keras=model(x[:1], training=False).numpy())
np.save("lstm-sample.npy", x)
"""
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("tensorflow", SAVING, tmp_path_factory.mktemp("tflite"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_a_file_answers_as_litert_and_keras_did(saved: Path, name: str) -> None:
    package = aweigh.pack(saved / f"{name}.tflite", "model", sample=saved / f"{name}-sample.npy")

    assert package.manifest.variants[0].runtime == "litert"
    own = np.load(saved / f"{name}.npz")
    with aweigh.load("model") as model:
        (answer,) = model.infer({package.manifest.signature.inputs[0].name: own["x"]}).values()
    np.testing.assert_allclose(answer, own["y"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer, np.load(saved / f"{name}-keras.npz")["y"], rtol=1e-3, atol=1e-4)


def test_int8_stays_int8_and_says_what_its_numbers_mean(saved: Path) -> None:
    package = aweigh.pack(saved / "cnn-int8.tflite", "model", sample=saved / "cnn-int8-sample.npy")

    signature, variant = package.manifest.signature, package.manifest.variants[0]
    assert (signature.inputs[0].datatype, signature.outputs[0].datatype) == (Datatype.INT8, Datatype.INT8)
    assert (variant.runtime, variant.precision) == ("litert", "int8")
    scale, zero = str(variant.options[f"quantization:{signature.inputs[0].name}"]).split()
    assert float(scale) > 0
    assert -128 <= int(zero) <= 127
    assert any("is quantised" in note for note in variant.evidence.repairs)
    own = np.load(saved / "cnn-int8.npz")
    with aweigh.load("model") as model:
        (answer,) = model.infer({signature.inputs[0].name: own["x"]}).values()
    np.testing.assert_array_equal(answer, own["y"])


def test_quantised_inside_and_floating_point_at_its_edges(saved: Path) -> None:
    package = aweigh.pack(saved / "cnn-weights.tflite", "model", sample=saved / "cnn-weights-sample.npy")

    assert package.manifest.signature.inputs[0].datatype is Datatype.FP32
    assert package.manifest.variants[0].precision == "int8"
    own = np.load(saved / "cnn-weights.npz")
    with aweigh.load("model") as model:
        (answer,) = model.infer({package.manifest.signature.inputs[0].name: own["x"]}).values()
    np.testing.assert_allclose(answer, own["y"], rtol=1e-4, atol=1e-5)


def test_a_recurrent_network_of_a_fixed_size_is_kept_at_it(saved: Path) -> None:
    package = aweigh.pack(saved / "lstm.tflite", "model", sample=saved / "lstm-sample.npy")

    assert package.manifest.signature.inputs[0].shape == (1, 8, 8, 1)
    own = np.load(saved / "lstm.npz")
    with aweigh.load("model") as model:
        (answer,) = model.infer({package.manifest.signature.inputs[0].name: own["x"]}).values()
    np.testing.assert_allclose(answer, own["keras"], rtol=1e-3, atol=1e-4)


def test_operations_that_litert_lacks_are_named(saved: Path) -> None:
    assert not (saved / "lstm-converts").exists()
    with pytest.raises(AweighError, match=r"Flex|Select TensorFlow|custom op"):
        aweigh.pack(saved / "lstm-flex.tflite", "model", sample=saved / "lstm-sample.npy")


def test_a_damaged_file_is_refused_and_only_its_child_dies(saved: Path, tmp_path: Path) -> None:
    data = bytearray((saved / "cnn.tflite").read_bytes())
    random = np.random.default_rng(5)
    for at in range(3):
        damaged = data[: len(data) // 2] if at == 0 else data.copy()
        for place in random.integers(8, len(damaged), 200) if at else ():
            damaged[place] = int(random.integers(256))
        (tmp_path / "damaged.tflite").write_bytes(damaged)
        with pytest.raises(AweighError):
            aweigh.pack(tmp_path / "damaged.tflite", "model")
