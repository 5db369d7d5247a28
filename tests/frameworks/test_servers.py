"""Networks for TensorFlow Serving and TorchServe: rendered, packed again from what was rendered, and answering as before; TorchServe's handler itself is asked."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.deploying.packages import deploy
from tests.frameworks.kit import make
from tests.frameworks.tensorflow_models import NETWORKS

import aweigh
from aweigh.core.errors import Unsupported

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KERAS = NETWORKS + '\nmodel, x = made(dense)\nmodel.save("dense.keras")\nnp.save("images.npy", x)\n'
PYTORCH = """
import numpy as np, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
rows = torch.randn(20, 6)
torch.jit.trace(model, rows).save("net.pt")
np.save("rows.npy", rows.numpy())
"""
ASK_HANDLER = """
import json, sys
from types import SimpleNamespace
import numpy as np
sys.path.insert(0, "unzipped")
import aweigh_handler
handler = aweigh_handler.Handler()
context = SimpleNamespace(system_properties={"model_dir": "unzipped", "gpu_id": None})
handler.handle(None, context)
rows = np.load("rows.npy")
bodies = [{"body": json.dumps({"inputs": {handler.facts["inputs"][0]["name"]: rows[at:at + 2].tolist()}}).encode()} for at in range(0, 6, 2)]
bodies += [{"body": rows[6:8].tolist()}, {"body": b"nonsense"}]
alone = handler.handle(bodies, context)
together = handler.handle(bodies[:4], context)
json.dump({"alone": alone, "together": together}, open("answers.json", "w"))
"""


def answered(home: Path, name: str, rows: np.ndarray, variant: str = "") -> np.ndarray:  # type: ignore[type-arg]
    with aweigh.load(name, home=str(home), variant=variant) as model:
        (answer,) = model.infer({model.signature.inputs[0].name: rows}).values()
    return np.asarray(answer)


def test_a_keras_model_goes_to_tensorflow_serving_and_comes_back(tmp_path: Path) -> None:
    make("tensorflow", KERAS, tmp_path)
    home = tmp_path / "home"
    plain = aweigh.pack(tmp_path / "dense.keras", "plain", home=str(home), sample=str(tmp_path / "images.npy"))
    assert [each.name for each in plain.manifest.variants] == ["onnx"]
    with pytest.raises(Unsupported, match="variant 'onnx': its runtime is 'onnxruntime', not TensorFlow") as refused:
        deploy(home, "plain", "tfserving", tmp_path / "refused")
    assert "--also tensorflow" in refused.value.hint
    package = aweigh.pack(tmp_path / "dense.keras", "dense", home=str(home), sample=str(tmp_path / "images.npy"), also=("tensorflow",))
    assert {each.name for each in package.manifest.variants} == {"onnx", "tensorflow"}
    done = deploy(home, "dense", "tfserving", tmp_path / "out")
    assert not done.findings
    back = aweigh.pack(tmp_path / "out" / "dense", "back", home=str(home), sample=str(tmp_path / "images.npy"))
    assert back.manifest.provenance.source_layout == "TensorFlow Serving base path, version 1"
    rows = np.load(tmp_path / "images.npy")
    np.testing.assert_allclose(answered(home, "back", rows), answered(home, "dense", rows), rtol=1e-5, atol=1e-6)


def test_torchscript_goes_to_torchserve_and_its_handler_answers_as_the_package(tmp_path: Path) -> None:
    make("torch", PYTORCH, tmp_path)
    home = tmp_path / "home"
    package = aweigh.pack(tmp_path / "net.pt", "net", home=str(home), sample=str(tmp_path / "rows.npy"), also=("torchscript",))
    assert {each.runtime for each in package.manifest.variants} == {"onnxruntime", "torch"}
    done = deploy(home, "net", "torchserve", tmp_path / "out")
    assert not done.findings
    with zipfile.ZipFile(tmp_path / "out" / "net.mar") as archive:
        archive.extractall(tmp_path / "unzipped")
    make("torch", ASK_HANDLER, tmp_path)
    answers = json.loads((tmp_path / "answers.json").read_text())
    rows = np.load(tmp_path / "rows.npy")
    expected = answered(home, "net", rows)
    for given in (answers["alone"][:4], answers["together"]):
        got = np.concatenate([next(iter(each["outputs"].values())) for each in given])
        np.testing.assert_allclose(got, expected[:8], rtol=1e-5, atol=1e-6)
    assert "error" in answers["alone"][4]
    again = aweigh.pack(tmp_path / "out" / "net.mar", "again", home=str(home), sample=str(tmp_path / "rows.npy"), trust=True)
    assert "TorchServe archive" in again.manifest.provenance.source_layout
    np.testing.assert_allclose(answered(home, "again", rows), expected, rtol=1e-5, atol=1e-6)
    repository = deploy(
        home, "net", "triton", tmp_path / "triton", variant=next(v.name for v in package.manifest.variants if v.runtime == "torch")
    )
    assert not repository.findings
    from_triton = aweigh.pack(tmp_path / "triton", "triton", home=str(home), sample=str(tmp_path / "rows.npy"))
    assert from_triton.manifest.provenance.source_layout == "Triton model, version 1: model.pt"
