"""Keras: models made in TensorFlow's own environment are packed from the base install, and answer as Keras did."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.frameworks.kit import make
from tests.frameworks.tensorflow_models import NETWORKS

import aweigh
from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, NotTrusted
from aweigh.store import StoredPackage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SAVING = (
    NETWORKS
    + """
for name, build in MODELS.items():
    model, x = made(build)
    model.save(f"{name}.keras")
    if name == "cnn":
        model.save(f"{name}.h5")
    np.savez(f"{name}.npz", x=x, y=model(x, training=False).numpy())
    np.save(f"{name}-sample.npy", x)
keras.Sequential([L.Input((4,)), L.Lambda(lambda x: (open("ran", "w").close(), x)[1])]).save("lambda.keras")
keras.Sequential([L.Input((4,)), L.Lambda(lambda x: (open("ran", "w").close(), x)[1])]).save("lambda.h5")
words = L.StringLookup(vocabulary=["a", "b", "c"], output_mode="one_hot")
texts = keras.Sequential([L.Input((1,), dtype="string", name="word"), words, L.Dense(2)])
texts.save("texts.keras")
asked = np.array([["a"], ["b"], ["zz"]], dtype=object)
import tensorflow as tf
np.savez("texts.npz", y=texts(tf.constant(asked.astype(str))).numpy())
"""
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("tensorflow", SAVING, tmp_path_factory.mktemp("keras"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))


def require_right(package: StoredPackage, saved: Path, stem: str) -> None:
    """Loaded again, the package answers what Keras wrote down."""
    own = np.load(saved / f"{stem}.npz")
    name = package.manifest.signature.inputs[0].name
    with aweigh.load("model") as model:
        (answer,) = model.infer({name: own["x"]}).values()
    np.testing.assert_allclose(answer, own["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dense.keras", "transformer.keras", "lstm.keras", "cnn.h5"])
def test_a_model_answers_as_keras_did(saved: Path, name: str) -> None:
    stem = name.partition(".")[0]
    package = aweigh.pack(saved / name, "model", sample=saved / f"{stem}-sample.npy")

    variant = package.manifest.variants[0]
    assert variant.runtime == "onnxruntime", variant.evidence
    require_right(package, saved, stem)
    (spec,) = package.manifest.signature.inputs
    assert spec.shape == (("batch", 8, 8, 1) if stem != "transformer" else ("batch", "axis1"))  # channels last, as the model says
    proto = onnx.load(str(package.path("variants/onnx/model.onnx")))
    assert [item.version for item in proto.opset_import if not item.domain] == [18]  # the one asked for
    assert not {node.op_type for node in proto.graph.node} & {"Dropout", "RandomUniform", "RandomUniformLike"}  # as at inference


def test_rows_with_a_nan_are_refused_where_keras_alone_makes_a_number_of_them(saved: Path, tmp_path: Path) -> None:
    """Max pooling does; a recurrent layer does in ONNX Runtime alone. The model comes as a folder of configuration and weights."""
    with zipfile.ZipFile(saved / "cnn.keras") as archive:
        archive.extractall(tmp_path / "apart", [name for name in archive.namelist() if name != "metadata.json"])
    package = aweigh.pack(tmp_path / "apart", "model", sample=saved / "cnn-sample.npy")

    assert package.manifest.provenance.framework == "keras"
    variant = package.manifest.variants[0]
    assert variant.runtime == "onnxruntime"
    assert variant.evidence is not None
    assert variant.evidence.repairs[0].startswith("ONNX by tf2onnx: parity failed (case 'missing'")
    assert variant.evidence.repairs[-1].startswith("ONNX by tf2onnx, rows with a NaN refused: passed")
    require_right(package, saved, "cnn")
    with aweigh.load("model") as model, pytest.raises(InvalidInput, match="image"):
        model.infer({"image": np.full((1, 8, 8, 1), np.nan, dtype=np.float32)})


def test_texts_are_kept_by_tensorflow_where_onnx_cannot(saved: Path) -> None:
    sample = saved / "words.csv"
    sample.write_text("word\n" + "\n".join(["a", "b", "c", "zz"] * 4) + "\n")
    package = aweigh.pack(saved / "texts.keras", "texts", sample=sample)

    with aweigh.load("texts") as model:
        (answer,) = model.infer({"word": np.array([["a"], ["b"], ["zz"]], dtype=object)}).values()
    np.testing.assert_allclose(answer, np.load(saved / "texts.npz")["y"], atol=1e-5)
    assert package.manifest.variants[0].runtime == "tensorflow"


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5"])
def test_a_lambda_layer_is_refused_and_runs_nothing(saved: Path, name: str) -> None:
    with pytest.raises(NotTrusted, match="Lambda"):
        aweigh.pack(saved / name, "model")
    assert not (Path.cwd() / "ran").exists()


def test_weights_that_lie_in_another_file_are_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copyfile(saved / "cnn.h5", tmp_path / "model.h5")
    make(
        "tensorflow", "import h5py\nwith h5py.File('model.h5', 'a') as f: f['elsewhere'] = h5py.ExternalLink('/etc/passwd', '/')", tmp_path
    )
    with pytest.raises(NotTrusted, match="elsewhere"):
        aweigh.pack(tmp_path / "model.h5", "model")


def test_a_truncated_archive_is_an_invalid_file(saved: Path, tmp_path: Path) -> None:
    data = (saved / "cnn.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(data[: len(data) - 30])
    with pytest.raises(AweighError):
        aweigh.pack(tmp_path / "cut.keras", "model")
    (tmp_path / "weights.h5").write_bytes((saved / "cnn.h5").read_bytes()[:500])
    with pytest.raises(InvalidFile):
        aweigh.pack(tmp_path / "weights.h5", "model")


def test_damaged_weights_are_an_invalid_file(saved: Path, tmp_path: Path) -> None:
    data = bytearray((saved / "cnn.h5").read_bytes())
    table = data.index(b"SNOD")
    data[table : table + 4] = b"\xff" * 4
    (tmp_path / "model.h5").write_bytes(data)
    with pytest.raises(InvalidFile, match=r"model\.h5"):
        aweigh.pack(tmp_path / "model.h5", "model")
