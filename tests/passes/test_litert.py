"""LiteRT made from a Keras model and from a SavedModel by TensorFlow's own converter; sources that it cannot convert are refused in plain words."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.frameworks.kit import make
from tests.passes.kit import answers, make_pass, write_calibration

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import Made, PassJob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TRAINED = 1300
SCRIPT = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
keras.utils.set_random_seed(0)
rows = np.load("digits.npz")
model = keras.Sequential([
    keras.Input((8, 8, 1), name="pixels"), keras.layers.Conv2D(8, 3, padding="same", activation="relu"), keras.layers.MaxPooling2D(),
    keras.layers.Flatten(), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax", name="digit"),
])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(rows["x"], rows["y"], epochs=12, batch_size=32, verbose=0)
model.save("cnn.keras")
model.export("saved", verbose=False)
keras.Sequential([keras.Input((8, 8), name="pixels"), keras.layers.LSTM(4), keras.layers.Dense(10, name="digit")]).save("recurrent.keras")
np.save("answers.npy", model.predict(rows["all"], verbose=0))
"""


def signature(*shape: int, output: str = "output") -> Signature:
    return Signature(
        inputs=(TensorSpec(name="pixels", datatype=Datatype.FP32, shape=(BATCH, *shape)),),
        outputs=(TensorSpec(name=output, datatype=Datatype.FP32, shape=(BATCH, 10)),),
    )


class Digits:
    """A folder with the models, the rows that none was trained on, and the float model's answers to them."""

    def __init__(self, folder: Path) -> None:
        x, y = load_digits(return_X_y=True)
        x = (x / 16).astype(np.float32).reshape(-1, 8, 8, 1)
        np.savez(folder / "digits.npz", x=x[:TRAINED], y=y[:TRAINED], all=x)
        make("tensorflow", SCRIPT, folder)
        given = np.load(folder / "answers.npy")
        self.folder, self.held, self.right, self.given = folder, x[TRAINED:], y[TRAINED:], given[TRAINED:]
        self.calibration = write_calibration(folder / "rows", {"pixels": x[:TRAINED]}, {"output": given[:TRAINED]})

    def job(self, source: str, folder: Path, **more: Any) -> PassJob:
        job = PassJob(
            variant=Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("variants/onnx/model.onnx",)),
            files={},
            signature=signature(8, 8, 1),
            folder=str(folder / "made"),
            calibration=self.calibration,
            source=str(self.folder / source),
        )
        return msgspec.structs.replace(job, **more)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def plain(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_pass("litert", digits.job("cnn.keras", tmp_path_factory.mktemp("plain")))


def test_a_keras_model_as_it_is(plain: Made, digits: Digits) -> None:
    (given,) = answers(plain, signature(8, 8, 1), {"pixels": digits.held})
    np.testing.assert_allclose(given, digits.given, atol=1e-5)
    assert any(each.startswith("ai-edge-litert==") for each in plain.environment)


@pytest.mark.parametrize(("name", "kept"), [("litert-dynamic", 0.6), ("litert-fp16", 0.7), ("litert-int8", 0.6)])
def test_smaller_and_as_good(name: str, kept: float, plain: Made, digits: Digits, tmp_path: Path) -> None:
    made = make_pass(name, digits.job("cnn.keras", tmp_path))
    sizes = [Path(each.files["model.tflite"]).stat().st_size for each in (made, plain)]
    assert sizes[0] < kept * sizes[1], sizes
    (given,) = answers(made, signature(8, 8, 1), {"pixels": digits.held})
    assert given.dtype == np.float32, "the edges stay as the package promises"
    assert (given.argmax(1) == digits.given.argmax(1)).mean() >= 0.97
    assert (given.argmax(1) == digits.right).mean() >= (digits.given.argmax(1) == digits.right).mean() - 0.01
    assert ("float16" if name == "litert-fp16" else "int8") in made.notes[0]


def test_a_savedmodel_is_one_too(digits: Digits, tmp_path: Path) -> None:
    named = signature(8, 8, 1, output="output_0")
    made = make_pass("litert-int8", digits.job("saved", tmp_path, signature=named))
    (given,) = answers(made, named, {"pixels": digits.held})
    assert (given.argmax(1) == digits.given.argmax(1)).mean() >= 0.97


def test_what_cannot_be_converted_is_said(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="none was given"):
        ways_of("litert", msgspec.structs.replace(digits.job("cnn.keras", tmp_path), source=""))
    (tmp_path / "model.txt").write_text("tree\nversion=v4\n")
    with pytest.raises(Unsupported, match=r"model.txt is a LightGBM text model; it begins with a Keras model or a SavedModel"):
        ways_of("litert-int8", digits.job(str(tmp_path / "model.txt"), tmp_path))
    with pytest.raises(Unsupported, match="another model"):
        make_pass("litert-dynamic", digits.job("saved", tmp_path))
    recurrent = digits.job("recurrent.keras", tmp_path / "recurrent", signature=signature(8, 8))
    with pytest.raises(Unsupported, match=r"recurrent layer with an open batch|cannot"):
        make_pass("litert-dynamic", msgspec.structs.replace(recurrent, calibration=""))
