"""PyTorch from an environment without it: every form of every sort of model answers as torch does once it is loaded; training mode, chance and swapped axes are caught;
hostile files execute nothing."""

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.frameworks.kit import environments, make

import aweigh
from aweigh.core.errors import AweighError, InvalidInput, NotTrusted, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Runtime
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.runtimes.process import ProcessRuntime
from aweigh.runtimes.torch import CODE, FACTORY
from aweigh.testing import RuntimeContract, RuntimeSample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KINDS = ("linear", "mlp", "cnn", "lstm", "encoder")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file of every model."""
    folder = tmp_path_factory.mktemp("torch")
    for place in (folder, folder / CODE):
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(__file__).with_name("torch_models.py"), place / "torch_models.py")
    return make("torch", "import torch_models\nfor kind in torch_models.MODELS:\n    torch_models.write(kind)", folder)


@pytest.fixture
def store(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own; the classes of the weights are found as a person's are, in the folder one stands in."""
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(made)
    return made


def class_of(kind: str) -> str:
    return f"torch_models:{kind.capitalize()}"


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as found:
        return dict(found)


def told(package: Any) -> str:
    return "\n".join(note for variant in package.manifest.variants for note in variant.evidence.repairs)


def check_answers(name: str, folder: Path, kind: str, *, sizes: int = 3) -> None:
    """The package, loaded, answers rows that packing never saw, of other sizes, as torch did."""
    with aweigh.load(name) as model:
        assert model.signature.batched
        for at in range(sizes):
            answered = model.infer(arrays(folder / f"{kind}.fresh{at}.npz"))
            expected = arrays(folder / f"{kind}.answers{at}.npz")
            assert answered.keys() == expected.keys()
            for output, tensor in expected.items():
                np.testing.assert_allclose(answered[output], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_program(kind: str, store: Path) -> None:
    package = aweigh.pack(store / f"{kind}.pt2", kind, sample=store / f"{kind}.npz")
    assert package.manifest.variants[0].runtime == "onnxruntime", told(package)
    check_answers(kind, store, kind, sizes=2 if kind == "lstm" else 3)  # torch.export itself fixes the steps of an LSTM


@pytest.mark.parametrize("kind", KINDS)
def test_torchscript(kind: str, store: Path) -> None:
    package = aweigh.pack(store / f"{kind}.pt", kind, sample=store / f"{kind}.npz")
    runtime = package.manifest.variants[0].runtime
    assert runtime == ("torch" if kind == "encoder" else "onnxruntime"), told(package)
    outputs = [spec.name for spec in package.manifest.signature.outputs]
    assert outputs == (["scores", "states"] if kind == "lstm" else ["output"])
    check_answers(kind, store, kind)


@pytest.mark.parametrize(
    ("kind", "form"),
    [("linear", "legacy.pt"), ("mlp", "weights.pt"), ("cnn", "safetensors"), ("lstm", "checkpoint.pt"), ("encoder", "weights.pt")],
)
def test_weights_with_their_class(kind: str, form: str, store: Path) -> None:
    package = aweigh.pack(store / f"{kind}.{form}", kind, sample=store / f"{kind}.npz", factory=class_of(kind))
    assert package.manifest.variants[0].runtime == "onnxruntime", told(package)
    assert not package.manifest.provenance.trusted
    check_answers(kind, store, kind)


def test_without_a_sample_a_program_is_proven_weakly(store: Path) -> None:
    evidence = aweigh.pack(store / "encoder.pt2", "weak").manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.strength == "weak"
    check_answers("weak", store, "encoder")


def test_a_live_module_stays_as_it_was(store: Path, tmp_path: Path) -> None:
    make(
        "torch",
        f"""
        import aweigh, numpy, torch, torch_models
        model = torch_models.taught("mlp")
        aweigh.pack(model, "live", sample=numpy.load("mlp.npz")["pixels"], home={str(tmp_path / "home")!r})
        assert all(part.training for part in model.modules())
        assert torch.backends.mha.get_fastpath_enabled()
        """,
        store,
    )
    check_answers("live", store, "mlp")


def test_training_mode_is_switched_off_and_told(store: Path) -> None:
    package = aweigh.pack(store / "mlp.training.pt2", "mlp", sample=store / "mlp.npz")
    assert "dropout 'drop' was on: switched off" in told(package)
    assert "batch normalisation 'norm' was in training mode" in told(package)
    check_answers("mlp", store, "mlp")
    package = aweigh.pack(store / "mlp.script.pt", "script", sample=store / "mlp.npz")
    assert "was in training mode (norm, drop): switched to inference" in told(package)
    check_answers("script", store, "mlp")


def test_training_mode_that_was_traced_is_refused_by_name(store: Path) -> None:
    with pytest.raises(Unsupported, match=r"(dropout|batch normalisation).*traced"):
        aweigh.pack(store / "mlp.training.pt", "mlp", sample=store / "mlp.npz")


def test_a_model_that_answers_by_chance_is_refused(store: Path) -> None:
    with pytest.raises(Unsupported, match=r"answers by chance \(dropout in"):
        aweigh.pack(store / "forgetful.weights.pt", "chance", sample=store / "forgetful.npz", factory=class_of("forgetful"))
    with pytest.raises(Unsupported, match=r"changes its own norm\.running_mean, norm\.running_var"):
        aweigh.pack(store / "holding.weights.pt", "held", sample=store / "holding.npz", factory=class_of("holding"))


def test_a_branch_that_hangs_on_data_is_kept(store: Path) -> None:
    package = aweigh.pack(store / "branching.weights.pt", "branching", sample=store / "branching.npz", factory=class_of("branching"))
    assert "ONNX: " in told(package)
    with aweigh.load("branching") as model:
        positive, negative = (model.infer({"x": np.full((2, 6), sign, dtype=np.float32)})["output"] for sign in (1, -1))
    weights = make(
        "torch",
        'import torch, numpy; w = torch.load("branching.weights.pt"); numpy.savez("w.npz", **{k: v.numpy() for k, v in w.items()})',
        store,
    )
    found = arrays(weights / "w.npz")
    plain = found["last.weight"].sum(1)
    np.testing.assert_allclose(positive[0], 2 * (plain + found["last.bias"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(negative[0], -plain + found["last.bias"], rtol=1e-4, atol=1e-5)


def test_swapped_axes_are_named(store: Path) -> None:
    swapped = np.ascontiguousarray(arrays(store / "cnn.npz")["image"].transpose(0, 2, 3, 1))
    with pytest.raises(InvalidInput, match=r"shape \[24, 8, 8, 3\], the model takes \[-1, 3, -1, -1\]"):
        aweigh.pack(store / "cnn.pt2", "cnn", sample=swapped)
    with pytest.raises(InvalidInput, match=r"shape \[4, 8, 8, 3\], the model takes \[-1, 3, 8, 8\]"):
        aweigh.pack(store / "cnn.weights.pt", "cnn", sample=swapped, factory=class_of("cnn"))


def test_what_it_cannot_know_it_asks_for(store: Path) -> None:
    with pytest.raises(Unsupported, match=r"holds 4 tensors|holds \d+ tensors \("):
        aweigh.pack(store / "mlp.weights.pt", "mlp", sample=store / "mlp.npz")
    with pytest.raises(InvalidInput, match="the weights are not those of what"):
        aweigh.pack(store / "mlp.weights.pt", "mlp", sample=store / "mlp.npz", factory=class_of("linear"))
    with pytest.raises(InvalidInput, match="does not say what it takes"):
        aweigh.pack(store / "mlp.pt", "mlp")


class Hostile:
    """Makes a file where it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self._sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._sentinel),)


def changed(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive with members changed."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for info in before.infolist():
            after.writestr(info.filename, change(info.filename, before.read(info.filename)))
    return target


def hostile_files(folder: Path, made: Path, sentinel: Path) -> list[Path]:
    """Every place of every format that torch would run something from."""
    bomb = pickle.dumps(Hostile(sentinel), protocol=2)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for name, data in (("archive/data.pkl", bomb), ("archive/version", b"3\n"), ("archive/byteorder", b"little")):
            archive.writestr(name, data)
    call = f"__import__('os').mkdir({str(sentinel)!r})"

    def at(ending: str, data: bytes) -> Callable[[str, bytes], bytes]:
        return lambda name, before: data if name.endswith(ending) else before

    def said(old: bytes, new: str) -> Callable[[str, bytes], bytes]:
        return lambda name, before: before.replace(old, new.encode()) if name.endswith("model.json") else before

    return [
        changed(made / "mlp.weights.pt", folder / "weights.pt", at("data.pkl", bomb)),
        changed(made / "mlp.pt2", folder / "sample-inputs.pt2", at("sample_inputs/model.pt", inner.getvalue())),
        changed(made / "encoder.pt2", folder / "guard.pt2", said(b"L['mask'].size()[0] == L['ids'].size()[0]", call.replace('"', "'"))),
        changed(made / "encoder.pt2", folder / "size.pt2", said(b"Mul(Integer(2), ", f"{call} or ({call}, ")),
        changed(made / "mlp.pt2", folder / "operator.pt2", said(b"torch.ops.aten.relu.default", "torch.os.system")),
        changed(made / "mlp.pt", folder / "data.pt", at("/data.pkl", bomb)),
        changed(made / "mlp.pt", folder / "constants.pt", at("/constants.pkl", bomb)),
        made / "mlp.whole.pt",
    ]


def test_hostile_files_execute_nothing(store: Path, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    for file in hostile_files(tmp_path, store, sentinel):
        with pytest.raises(AweighError) as caught:
            aweigh.pack(file, "hostile", sample=store / "mlp.npz", factory=class_of("mlp"))
        assert not sentinel.exists(), file.name
        assert isinstance(caught.value, NotTrusted), (file.name, caught.value)


class TestTorchRuntime(RuntimeContract):
    """Programs in the environment that has torch, as they are served where it is not installed."""

    @pytest.fixture(autouse=True)
    def _made(self, made: Path) -> None:
        self._folder = made

    def runtime(self) -> Runtime:
        return ProcessRuntime(home=environments().home("torch"))

    def samples(self, folder: Path) -> Sequence[RuntimeSample]:
        eager = Variant(
            name="torch-eager",
            runtime="torch-eager",
            precision="native",
            files=("linear.safetensors", f"{CODE}/torch_models.py"),
            options={FACTORY: class_of("linear")},
        )
        programs = {"lstm": "lstm.pt2", "linear": "linear.pt"}
        variants = {kind: Variant(name="torch", runtime="torch", precision="native", files=(file,)) for kind, file in programs.items()}
        return [*(self._sample(kind, variant) for kind, variant in variants.items()), self._sample("linear", eager)]

    def _sample(self, kind: str, variant: Variant) -> RuntimeSample:
        inputs, answers = arrays(self._folder / f"{kind}.fresh1.npz"), arrays(self._folder / f"{kind}.answers1.npz")

        def spec(name: str, tensor: Any) -> TensorSpec:
            return TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH, *tensor.shape[1:]))

        signature = Signature(
            inputs=tuple(spec(name, tensor) for name, tensor in inputs.items()),
            outputs=tuple(spec(name, tensor) for name, tensor in answers.items()),
        )
        return RuntimeSample(variant=variant, signature=signature, folder=self._folder, inputs=inputs, expected=list(answers.values()))


def test_a_whole_module_is_taken_when_it_is_trusted(store: Path) -> None:
    package = aweigh.pack(store / "mlp.whole.pt", "whole", sample=store / "mlp.npz", trust=True)
    assert package.manifest.provenance.trusted
    assert not package.manifest.contains_pickle
    check_answers("whole", store, "mlp")
