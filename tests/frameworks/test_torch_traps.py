"""Known traps of PyTorch, each repaired or refused with its cause: the fast path of attention, the opset, rows that hang on one another, modules that nothing writes down."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.frameworks.test_torch import arrays, check_answers, class_of, told

import aweigh
from aweigh.core.errors import NotTrusted, ProofFailed, Unsupported
from aweigh.core.evidence import BATCH_INVARIANCE
from aweigh.core.settings import Settings
from aweigh.engine.batching.policy import choose_batching
from aweigh.packing.onnx_wire import opset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STUBBORN = """
import torch
import torch_beside

class Stubborn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(6, 3)

    def forward(self, x):
        import torch_later  # known when it is asked, not before
        ordered = torch_beside.ordered(x.numpy(), **{"axis": 1})
        return self.last(torch.from_numpy(ordered)) * torch_later.FACTOR
"""
BESIDE = "import numpy\n\ndef ordered(rows, **how):\n    return numpy.sort(rows, **how)\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traps")
    shutil.copyfile(Path(__file__).with_name("torch_models.py"), folder / "torch_models.py")
    for name, text in {"torch_stubborn": STUBBORN, "torch_beside": BESIDE, "torch_later": "FACTOR = 2\n"}.items():
        (folder / f"{name}.py").write_text(text)
    script = """
    import numpy, safetensors.torch, torch, torch_models, torch_stubborn
    for kind in ("linear", "attention", "centred"):
        torch_models.write(kind)
    torch.manual_seed(5)
    model, rows = torch_stubborn.Stubborn(), torch.randn(24, 6)
    safetensors.torch.save_file(model.state_dict(), "stubborn.safetensors")
    numpy.savez("stubborn.npz", x=rows.numpy())
    fresh = torch.randn(13, 6)
    numpy.savez("stubborn.fresh.npz", x=fresh.numpy(), answer=model(fresh).detach().numpy())

    layers = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    torch.jit.script(torch.ao.quantization.quantize_dynamic(layers, {torch.nn.Linear})).save("eight.pt")
    numpy.savez("eight.npz", x=rows.numpy())

    class Steps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(8, 12, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0][:, -1]

    steps, rows = Steps().eval(), torch.randn(24, 5, 8)
    torch.jit.trace(steps, rows[:3]).save("steps.pt")
    numpy.savez("steps.npz", x=rows.numpy())
    """
    return make("torch", script, folder)


@pytest.fixture
def store(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(made)
    return made


def written_opset(package: Any) -> int:
    return opset(package.path(package.manifest.variants[0].files[0]))


def test_attention_that_was_scripted_with_its_fast_path(store: Path) -> None:
    package = aweigh.pack(store / "attention.pt", "attention", sample=store / "attention.npz")
    assert package.manifest.variants[0].runtime == "torch", told(package)
    assert "ONNX by the TorchScript exporter: " in told(package)
    check_answers("attention", store, "attention")


def test_a_traced_recurrent_layer_is_as_wide_as_its_weights(store: Path) -> None:
    """PyTorch does not check the width of what a traced LSTM is given: it answers rows that are wider with whatever lies beside the weights."""
    package = aweigh.pack(store / "steps.pt", "steps", sample=store / "steps.npz")
    assert package.manifest.variants[0].runtime == "onnxruntime", told(package)
    assert package.manifest.signature.inputs[0].shape == ("batch", "axis1", 8)


def test_a_script_in_eight_bits_is_torchs_own_and_not_put_into_batches(store: Path) -> None:
    """The range of its activations is that of the whole call: a row's answer depends on the others."""
    package = aweigh.pack(store / "eight.pt", "eight", sample=store / "eight.npz")
    assert (package.manifest.variants[0].runtime, package.manifest.provenance.trusted) == ("torch", False), told(package)
    evidence = package.manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.passed
    assert not evidence.check(BATCH_INVARIANCE).passed


def test_attention_of_a_class_is_written_without_its_fast_path(store: Path) -> None:
    package = aweigh.pack(store / "attention.weights.pt", "attention", sample=store / "attention.npz", factory=class_of("attention"))
    assert package.manifest.variants[0].runtime == "onnxruntime", told(package)
    check_answers("attention", store, "attention")


def test_the_opset_is_the_one_that_the_file_has(store: Path) -> None:
    weights = {"sample": store / "linear.npz", "factory": class_of("linear")}
    package = aweigh.pack(store / "linear.weights.pt", "any", **weights)  # type: ignore[arg-type]
    assert f"ONNX: passed, with opset {written_opset(package)}" in told(package)
    package = aweigh.pack(store / "linear.weights.pt", "lower", opset=15, **weights)  # type: ignore[arg-type]
    assert written_opset(package) == 15
    assert "ONNX: torch's exporter writes opset 18 at the lowest" in told(package)
    assert "ONNX by the TorchScript exporter: passed, with opset 15" in told(package)
    check_answers("lower", store, "linear")


def test_an_opset_that_is_not_written_is_refused(store: Path) -> None:
    with pytest.raises(Unsupported, match=r"opset 13 was asked for, torch made no ONNX that passed .*writes opset 18 at the lowest"):
        aweigh.pack(store / "linear.pt2", "linear", opset=13)


def test_rows_that_hang_on_one_another_never_run_together(store: Path) -> None:
    package = aweigh.pack(store / "centred.weights.pt", "centred", sample=store / "centred.npz", factory=class_of("centred"))
    evidence = package.manifest.variants[0].evidence
    assert evidence is not None
    assert evidence.passed
    assert not evidence.batch_invariant
    check = evidence.check(BATCH_INVARIANCE)
    assert check is not None
    assert "differs in batches" in check.note
    policy = choose_batching(package.manifest.signature, evidence, Settings())
    assert not policy.allowed
    assert "differs in batches" in policy.why


def test_a_module_that_nothing_writes_down_runs_as_it_is_when_it_is_trusted(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"sample": store / "stubborn.npz", "factory": "torch_stubborn:Stubborn"}
    with pytest.raises((ProofFailed, NotTrusted), match="only with --trust"):
        aweigh.pack(store / "stubborn.safetensors", "stubborn", **said)  # type: ignore[arg-type]
    package = aweigh.pack(store / "stubborn.safetensors", "stubborn", trust=True, **said)  # type: ignore[arg-type]
    variant = package.manifest.variants[0]
    assert variant.runtime == "torch-eager", told(package)
    assert [Path(file).name for file in variant.files[1:]] == ["torch_stubborn.py", "torch_beside.py", "torch_later.py"]
    monkeypatch.chdir(tmp_path)  # what it needs lies in the package
    fresh = arrays(store / "stubborn.fresh.npz")
    with aweigh.load("stubborn") as model:
        np.testing.assert_allclose(model.infer({"x": fresh["x"]})["output"], fresh["answer"], rtol=1e-5, atol=1e-6)
