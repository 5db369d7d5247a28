"""ExecuTorch and Core ML from PyTorch sources: what phones run. ExecuTorch answers here; Core ML is held to its own description, and never taken for proven."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_digits
from tests.frameworks.kit import make
from tests.passes.kit import answers, environments, make_pass, write_calibration

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.optimization.making import load_pass, ways_of
from aweigh.optimization.passing import PassJob
from aweigh.runtimes import load_session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TRAINED = 1300
SIGNATURE = Signature(
    inputs=(TensorSpec(name="pixels", datatype=Datatype.FP32, shape=(BATCH, 1, 8, 8)),),
    outputs=(
        TensorSpec(name="digit", datatype=Datatype.FP32, shape=(BATCH, 10)),
        TensorSpec(name="sure", datatype=Datatype.FP32, shape=(BATCH,)),
    ),
)
MODULE = """
import torch

class Cnn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(128, 64), torch.nn.ReLU(),
            torch.nn.Linear(64, 10),
        )

    def forward(self, pixels):
        digit = torch.softmax(self.body(pixels), 1)
        return {"sure": digit.max(1).values, "digit": digit}
"""
SCRIPT = """
import numpy as np, torch
from phone_models import Cnn
torch.set_num_threads(1)
torch.manual_seed(0)
rows = np.load("digits.npz")
x, y = torch.from_numpy(rows["x"]), torch.from_numpy(rows["y"])
model = Cnn()
adam = torch.optim.Adam(model.parameters(), 3e-3)
for epoch in range(12):
    for part in torch.randperm(len(x)).split(64):
        adam.zero_grad()
        torch.nn.functional.nll_loss(torch.log(model(x[part])["digit"] + 1e-9), y[part]).backward()
        adam.step()
model.eval()
torch.save(model.state_dict(), "cnn.pt")
torch.export.save(torch.export.export(model, (), {"pixels": x[:4]}, dynamic_shapes={"pixels": {0: torch.export.Dim.AUTO}}), "cnn.pt2")
torch.jit.script(model).save("script.pt")
with torch.no_grad():
    np.savez("answers.npz", **{name: tensor.numpy() for name, tensor in model(torch.from_numpy(rows["all"])).items()})
"""


class Digits:
    """A folder with the sources, held-out rows, and the float model's answers to them."""

    def __init__(self, folder: Path) -> None:
        x, y = load_digits(return_X_y=True)
        x = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        np.savez(folder / "digits.npz", x=x[:TRAINED], y=y[:TRAINED], all=x)
        (folder / "phone_models.py").write_text(MODULE)
        make("torch", SCRIPT, folder)
        with np.load(folder / "answers.npz") as given:
            self.given = {name: given[name][TRAINED:] for name in ("digit", "sure")}
            shown = {name: given[name][:200] for name in ("digit", "sure")}
        self.folder, self.held, self.right = folder, x[TRAINED:], y[TRAINED:]
        self.calibration = write_calibration(folder / "rows", {"pixels": x[:200]}, shown)

    def job(self, source: str, folder: Path, **more: Any) -> PassJob:
        job = PassJob(
            variant=Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("variants/onnx/model.onnx",)),
            files={},
            signature=SIGNATURE,
            folder=str(folder / "made"),
            calibration=self.calibration,
            source=str(self.folder / source),
            factory="phone_models:Cnn" if source == "cnn.pt" else "",
            paths=(str(self.folder),),
        )
        return msgspec.structs.replace(job, **more)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits(tmp_path_factory.mktemp("digits"))


def test_a_program_for_phones_answers_as_the_module_does(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("executorch", digits.job("cnn.pt", tmp_path))
    digit, sure = answers(made, SIGNATURE, {"pixels": digits.held})
    np.testing.assert_allclose(digit, digits.given["digit"], atol=1e-5)
    np.testing.assert_allclose(sure, digits.given["sure"], atol=1e-5)
    assert made.notes == ("made for one row: batches are answered row by row",)
    assert any(each.startswith("executorch==") for each in made.environment)


def test_a_program_in_int8_is_smaller_and_as_good(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("executorch-int8", digits.job("cnn.pt2", tmp_path))
    assert Path(made.files["model.pte"]).stat().st_size < 0.5 * (digits.folder / "cnn.pt").stat().st_size
    digit, _ = answers(made, SIGNATURE, {"pixels": digits.held})
    assert (digit.argmax(1) == digits.given["digit"].argmax(1)).mean() >= 0.97


def test_what_executorch_cannot_begin_with_is_said(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="none was given"):
        ways_of("executorch", msgspec.structs.replace(digits.job("cnn.pt2", tmp_path), source=""))
    with pytest.raises(Unsupported, match=r"script.pt is a TorchScript module; it begins with an exported program"):
        ways_of("executorch-int8", digits.job("script.pt", tmp_path))
    open_axis = msgspec.structs.replace(
        SIGNATURE, inputs=(TensorSpec(name="pixels", datatype=Datatype.FP32, shape=(BATCH, 1, "axis2", 8)),)
    )
    with pytest.raises(Unsupported, match="the size 'axis2' of 'pixels' is open"):
        ways_of("executorch", digits.job("cnn.pt2", tmp_path, signature=open_axis))


@pytest.mark.parametrize("source", ["cnn.pt2", "script.pt"])
def test_a_core_ml_package_describes_the_signature_and_is_not_proven(source: str, digits: Digits, tmp_path: Path) -> None:
    made = make_pass("coreml", digits.job(source, tmp_path), "fp16" if source == "cnn.pt2" else "fp32")
    assert next(iter(made.files)) == "model.mlpackage/Manifest.json"
    assert (
        made.notes[0]
        == "by its own description: input 'pixels' float32, output 'digit' float32, output 'sure' float32, 1 to 64 rows a call"
    )
    assert "not run: Core ML predicts on macOS alone" in made.notes[1]
    assert load_pass("coreml").declares.elsewhere == "macOS"
    variant = Variant(name="coreml", runtime=made.runtime, precision=made.precision, files=tuple(made.files))
    with pytest.raises(Unsupported, match="macOS alone can run"):
        load_session(variant, SIGNATURE, lambda path: Path(made.files[path]), environments=environments())


def test_what_core_ml_does_not_take_is_said(digits: Digits, tmp_path: Path) -> None:
    text = msgspec.structs.replace(SIGNATURE, inputs=(TensorSpec(name="pixels", datatype=Datatype.BYTES, shape=(BATCH, 1)),))
    with pytest.raises(Unsupported, match="'pixels' is BYTES, which Core ML neither takes nor gives"):
        ways_of("coreml", digits.job("cnn.pt2", tmp_path, signature=text))
    (tmp_path / "model.txt").write_text("tree\nversion=v4\n")
    with pytest.raises(Unsupported, match="it begins with a PyTorch program"):
        ways_of("coreml", digits.job(str(tmp_path / "model.txt"), tmp_path))
