"""TensorFlow SavedModels: signatures, texts and tables, and what is refused, packed from the base install."""

from pathlib import Path

import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.frameworks.tensorflow_models import NETWORKS

import aweigh
from aweigh.core.errors import InvalidFile, NotTrusted, Unsupported

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SAVING = (
    NETWORKS
    + """
import tensorflow as tf
model, x = made(cnn)
model.export("cnn", verbose=False)
np.savez("cnn.npz", x=x, y=model(x, training=False).numpy())
np.save("cnn-sample.npy", x)

class Words(tf.Module):
    def __init__(self):
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b", "ü"]), tf.constant([1, 2, 3], tf.int64))
        self.table = tf.lookup.StaticHashTable(keys, -1)
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def look_up(self, words):
        return {"ids": self.table.lookup(words), "lower": tf.strings.lower(words, encoding="utf-8")}

class Lines(tf.Module):
    def __init__(self, folder="."):
        open("words.txt", "w").write("x\\ny\\n")
        lines = tf.lookup.TextFileInitializer("words.txt", tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        self.table = tf.lookup.StaticHashTable(lines, -1)
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def look_up(self, words):
        return {"ids": self.table.lookup(words)}

class Linear(tf.Module):
    def __init__(self):
        self.w = tf.Variable([[1.0], [2.0]])
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def times(self, x):
        return {"y": x @ self.w}
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def plus(self, x):
        return {"z": x + 1.0}

class Reads(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def call(self, x):
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)}

class Writes(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def call(self, x):
        with tf.control_dependencies([tf.io.write_file("SENTINEL", "ran")]):
            return {"y": x + 1.0}

class Calls(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def call(self, x):
        return {"y": tf.numpy_function(lambda a: a, [x], tf.float32)}

words, linear = Words(), Linear()
tf.saved_model.save(words, "words", signatures={"serving_default": words.look_up})
lines = Lines()
tf.saved_model.save(lines, "lines", signatures={"serving_default": lines.look_up})
tf.saved_model.save(linear, "linear", signatures={"times": linear.times})
tf.saved_model.save(linear, "several", signatures={"times": linear.times, "plus": linear.plus})
tf.saved_model.save(linear, "default", signatures={"serving_default": linear.times, "plus": linear.plus})
for hostile in (Reads(), Writes(), Calls()):
    tf.saved_model.save(hostile, type(hostile).__name__.lower(), signatures={"serving_default": hostile.call})
"""
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("tensorflow", SAVING, tmp_path_factory.mktemp("savedmodel"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))


def test_a_model_answers_as_tensorflow_did(saved: Path) -> None:
    package = aweigh.pack(saved / "cnn", "model", sample=saved / "cnn-sample.npy")

    assert package.manifest.variants[0].runtime == "onnxruntime"
    assert not package.manifest.signature.inputs[0].takes_missing  # rows with a NaN are refused: see test_keras.py
    own = np.load(saved / "cnn.npz")
    with aweigh.load("model") as model:
        (answer,) = model.infer({package.manifest.signature.inputs[0].name: own["x"]}).values()
    np.testing.assert_allclose(answer, own["y"], rtol=1e-4, atol=1e-5)


def test_texts_and_tables_are_kept(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("words\n" + "\n".join(["a", "b", "ü", "zz"] * 4) + "\n")
    package = aweigh.pack(saved / "words", "words", sample=tmp_path / "words.csv")

    with aweigh.load("words") as model:
        answer = model.infer({"words": np.array(["b", "Ü", "ü", "A"], dtype=object)})
    assert answer["ids"].tolist() == [2, -1, 3, -1]
    assert answer["lower"].tolist() == ["b", "ü", "ü", "a"]
    assert package.manifest.variants[0].runtime == "tensorflow"
    assert not package.manifest.contains_pickle


def test_a_table_from_the_models_own_file_is_kept(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("words\n" + "\n".join(["x", "y", "zz"] * 4) + "\n")
    (saved / "words.txt").unlink(missing_ok=True)  # the copy in assets is what counts
    aweigh.pack(saved / "lines", "lines", sample=tmp_path / "words.csv")
    with aweigh.load("lines") as model:
        assert model.infer({"words": np.array(["y", "q"], dtype=object)})["ids"].tolist() == [1, -1]


def test_the_signature_that_is_served_is_the_default_or_the_only_one(saved: Path) -> None:
    package = aweigh.pack(saved / "linear", "linear")
    assert [spec.name for spec in package.manifest.signature.outputs] == ["y"]
    package = aweigh.pack(saved / "default", "default")
    assert any("'plus' is not served" in note for note in package.manifest.variants[0].evidence.repairs)
    with pytest.raises(Unsupported, match="plus, times"):
        aweigh.pack(saved / "several", "several")


@pytest.mark.parametrize(("name", "operation"), [("reads", "ReadFile"), ("writes", "WriteFile"), ("calls", "PyFunc")])
def test_operations_that_reach_out_are_refused_by_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotTrusted, match=operation):
        aweigh.pack(saved / name, "model")
    assert not (tmp_path / "SENTINEL").exists()


def test_a_damaged_folder_is_an_invalid_file(saved: Path, tmp_path: Path) -> None:
    data = (saved / "cnn" / "saved_model.pb").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "saved_model.pb").write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidFile):
        aweigh.pack(tmp_path / "cut", "model")
    (tmp_path / "cut" / "saved_model.pb").write_bytes(data)
    with pytest.raises(InvalidFile):  # no variables
        aweigh.pack(tmp_path / "cut", "model")
