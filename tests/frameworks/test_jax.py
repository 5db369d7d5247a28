"""JAX and Flax: live models packed where JAX lives, programs of `jax.export` from an environment without it; both answer as JAX does on rows that packing has not seen."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.frameworks.jax_files import FILES, OWN
from tests.frameworks.kit import make

import aweigh
from aweigh.core.errors import AweighError, InvalidFile, InvalidInput, UnknownFormat, Unsupported

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MODELS = (Path(__file__).parent / "jax_models.py").read_text()
LIVE = """
import json, sys
import aweigh
from jax_models import answers, made, rows
KIND = {kind!r}
model = made(KIND)
package = aweigh.pack(model, KIND, sample=rows(KIND, 30, 0), home="home")
fresh = rows(KIND, 100, 9)
with aweigh.load(KIND, home="home") as loaded:
    (answered,) = loaded.infer({{loaded.signature.inputs[0].name: fresh}}).values()
variant = package.manifest.variants[0]
difference = float(abs(answered - answers(KIND, model, fresh)).max())
training = [part.deterministic for _, part in __import__("flax").nnx.iter_modules(model) if hasattr(part, "deterministic")] if KIND == "cnn" else []
json.dump({{"runtime": variant.runtime, "notes": variant.evidence.repairs, "difference": difference, "training": training}}, open("told.json", "w"))
"""
PROGRAM = """
import jax, numpy as np
from jax import export
from jax_models import answers, made, rows
KIND = {kind!r}
model = made(KIND)
sample = rows(KIND, 30, 0)
(batch,) = export.symbolic_shape("b")
shape = jax.ShapeDtypeStruct((batch, *sample.shape[1:]), sample.dtype)
program = export.export(jax.jit(lambda x: answers(KIND, model, x)), platforms=["cpu"])(shape)
open("model.jax", "wb").write(program.serialize())
np.save("sample.npy", sample)
np.save("fresh.npy", rows(KIND, 100, 9))
np.save("answers.npy", answers(KIND, model, rows(KIND, 100, 9)))
"""
CALLS = """
import jax
from jax import export
program = export.export(jax.jit(jax.numpy.linalg.cholesky), platforms=["cpu"])(jax.ShapeDtypeStruct((3, 3), "float32"))
data = bytes(program.serialize())
assert b"lapack_spotrf_ffi" in data
open("honest.jax", "wb").write(data)
open("evil.jax", "wb").write(data.replace(b"lapack_spotrf_ffi", b"xla_ffi_python_cp"))
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "jax_models.py").write_text(MODELS)
    return folder


@pytest.mark.parametrize("kind", ["linear", "mlp", "cnn", "recurrent", "transformer"])
def test_a_live_model_becomes_onnx_that_answers_as_it_does(kind: str, tmp_path: Path) -> None:
    folder = make("jax", LIVE.format(kind=kind), _folder(tmp_path))
    told = json.loads((folder / "told.json").read_text())
    assert told["runtime"] == "onnxruntime", told["notes"]
    assert told["difference"] < 1e-5
    if kind == "cnn":
        assert any("in training" in note for note in told["notes"])
    if kind == "mlp":
        assert any("train=False" in note for note in told["notes"])


@pytest.mark.parametrize("kind", ["mlp", "recurrent"])
def test_an_exported_program_runs_as_it_is(kind: str, tmp_path: Path) -> None:
    folder = make("jax", PROGRAM.format(kind=kind), _folder(tmp_path))
    package = aweigh.pack(folder / "model.jax", kind, sample=folder / "sample.npy")
    (variant,) = package.manifest.variants
    assert variant.runtime == "jax"
    assert package.manifest.signature.batched
    with aweigh.load(kind) as model:
        (answered,) = model.infer({"input": np.load(folder / "fresh.npy")}).values()
    np.testing.assert_allclose(answered, np.load(folder / "answers.npy"), atol=1e-6)


def test_a_program_that_calls_out_of_itself_is_refused_by_name(tmp_path: Path) -> None:
    folder = make("jax", CALLS, tmp_path / "made")
    assert aweigh.pack(folder / "honest.jax", "honest").manifest.variants[0].runtime == "jax"
    with pytest.raises(Unsupported, match="the program calls 'xla_ffi_python_cp'"):
        aweigh.pack(folder / "evil.jax", "evil")


def test_damaged_programs_are_refused(tmp_path: Path) -> None:
    folder = make("jax", CALLS, tmp_path / "made")
    whole = (folder / "honest.jax").read_bytes()
    code = whole.index(b"ML\xefR")
    for number, data in enumerate((whole[: code + 200], whole[: code + 40] + b"\xff" * 60 + whole[code + 100 :])):
        (folder / "damaged.jax").write_bytes(data)
        with pytest.raises(AweighError):
            aweigh.pack(folder / "damaged.jax", f"damaged-{number}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parameters of three kinds of model as files, and the module that they belong to."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "own.py").write_text(OWN)
    return make("jax", FILES, folder)


@pytest.mark.parametrize(("file", "factory"), [("linen.msgpack", "Dense"), ("function.npz", "predict"), ("nnx.safetensors", "Stack")])
def test_parameters_with_the_persons_own_module_answer_as_it_does(
    file: str, factory: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    package = aweigh.pack(file, "own", sample="sample.npy", factory=f"own:{factory}")
    (variant,) = package.manifest.variants
    assert variant.runtime == "onnxruntime"
    assert variant.evidence is not None
    assert f"parameters of {file} in what own:{factory} makes" in variant.evidence.repairs
    with aweigh.load("own") as model:
        (answered,) = model.infer({"x": np.load("fresh.npy")}).values()
    np.testing.assert_allclose(answered, np.load(Path(file).with_suffix(".npy")), atol=1e-5)


def test_parameters_of_something_else_are_refused_by_name(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    with pytest.raises(InvalidInput, match=r"missing layers_0/bias.*unexpected BatchNorm_0/bias, BatchNorm_0/scale, Dense_0/bias"):
        aweigh.pack("linen.msgpack", "other", sample="sample.npy", factory="own:other")


def test_a_file_is_judged_before_the_persons_module_is_imported(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    (files / "imported").unlink(missing_ok=True)
    Path("cut.safetensors").write_bytes(Path("nnx.safetensors").read_bytes()[:-8])
    with pytest.raises(InvalidFile, match="outside the file"):
        aweigh.pack("cut.safetensors", "bad", sample="sample.npy", factory="own:Stack")
    Path("plain.py").write_text("import numpy\n")
    with pytest.raises(UnknownFormat, match="imports neither jax nor flax"):
        aweigh.pack("function.npz", "bad", sample="sample.npy", factory="plain:predict")
    assert not (files / "imported").exists()
