"""Folders and archives of other tools that hold networks: found inside, packed through the framework's environment, and served from the folder itself."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.frameworks.tensorflow_models import NETWORKS
from tests.serving.served import Served

import aweigh
from aweigh.core.errors import InvalidFile, NotTrusted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KERAS = (
    NETWORKS
    + """
model, x = made(dense)
model.save("dense.keras")
np.save("images.npy", x)
np.save("newer.npy", model(x, training=False).numpy())
model.export("2", verbose=False)
model.layers[-1].set_weights([each * 0.5 for each in model.layers[-1].get_weights()])
model.export("1", verbose=False)
"""
)
PYTORCH = """
import numpy as np, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
rows = torch.randn(20, 6)
torch.jit.trace(model, rows).save("scripted.pt")
torch.save(model, "whole.pth")
np.save("rows.npy", rows.numpy())
np.save("scores.npy", model(rows).detach().numpy())
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    make("tensorflow", KERAS, folder)
    make("torch", PYTORCH, folder)
    return make("huggingface", Path(__file__).with_name("huggingface_models.py").read_text(encoding="utf-8"), folder)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))


def put(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        place = folder / name.replace("__", "/").replace("_dot_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def copied(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, place)


def mlflow(sources: Path, folder: Path) -> Path:
    copied(sources / "scripted.pt", folder / "data" / "model.pth")
    flavours = "flavors:\n  python_function:\n    loader_module: mlflow.pytorch\n    data: data\n  pytorch:\n    model_data: data\n"
    return put(folder, MLmodel=flavours)


def triton_pytorch(sources: Path, folder: Path) -> Path:
    copied(sources / "scripted.pt", folder / "net" / "3" / "model.pt")
    said = (
        'input [{ name: "INPUT__0" data_type: TYPE_FP32 dims: [ 6 ] }]\noutput [{ name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 3 ] }]\n'
    )
    return put(folder, net__config_dot_pbtxt=f'name: "net"\nplatform: "pytorch_libtorch"\nmax_batch_size: 8\n{said}')


def triton_savedmodel(sources: Path, folder: Path) -> Path:
    copied(sources / "1", folder / "1" / "model.savedmodel")
    copied(sources / "2", folder / "2" / "model.savedmodel")
    return put(folder, config_dot_pbtxt='name: "digits"\nplatform: "tensorflow_savedmodel"\nmax_batch_size: 8\n')


def tensorflow_serving(sources: Path, folder: Path) -> Path:
    copied(sources / "1", folder / "1")
    copied(sources / "2", folder / "2")
    return folder


def torchserve(sources: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "net.mar", "w") as archive:
        said = {"serializedFile": "scripted.pt", "handler": "base_handler", "modelName": "net"}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": said, "runtime": "python", "archiverVersion": "0.12.0"}))
        archive.write(sources / "scripted.pt", "scripted.pt")
    return folder / "net.mar"


def bentoml(sources: Path, folder: Path) -> Path:
    copied(sources / "dense.keras", folder / "saved_model.keras")
    return put(folder, model_dot_yaml="name: digits\nversion: v7\nmodule: bentoml.keras\ncontext:\n  bentoml_version: 1.4.0\n")


def kserve(sources: Path, folder: Path) -> Path:
    copied(sources / "classifier", folder / "weights")
    said = {"name": "calm", "implementation": "mlserver_huggingface.HuggingFaceRuntime", "parameters": {"uri": "./weights"}}
    return put(folder, **{"model-settings_dot_json": json.dumps(said)})


LAYOUTS: dict[str, tuple[Callable[[Path, Path], Path], str, tuple[str, str] | None]] = {
    "MLflow": (mlflow, "MLflow model, flavour pytorch: data/model.pth", ("rows", "scores")),
    "Triton with PyTorch": (triton_pytorch, "Triton model, version 3: model.pt", ("rows", "scores")),
    "Triton with a SavedModel": (triton_savedmodel, "Triton model, version 2: model.savedmodel", ("images", "newer")),
    "TorchServe": (torchserve, "TorchServe archive, without its standard handler base_handler: scripted.pt", ("rows", "scores")),
    "KServe": (kserve, "MLServer model (HuggingFaceRuntime): weights", None),
}
"""How the folder is built, what its provenance says, and the rows with the answers of the framework itself."""


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_folder_of_another_tool_is_packed_and_answers_as_its_model(sources: Path, tmp_path: Path, case: str) -> None:
    build, layout, asked = LAYOUTS[case]
    folder = build(sources, tmp_path / "folder")
    package = aweigh.pack(folder, "model", sample=sources / f"{asked[0]}.npy" if asked else None)
    assert package.manifest.provenance.source_layout == layout
    first = package.manifest.variants[0]
    assert first.evidence is not None
    assert first.evidence.passed
    if asked is None:
        return
    with aweigh.load("model") as model:
        (answered,) = model.infer({model.signature.inputs[0].name: np.load(sources / f"{asked[0]}.npy")}).values()
    np.testing.assert_allclose(answered, np.load(sources / f"{asked[1]}.npy"), rtol=1e-4, atol=1e-5)


def ask(server: Served, name: str, rows: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with aweigh.Client(server.url) as client:
        (spec,) = client.metadata(name).inputs
        (answered,) = client.infer(name, {spec.name: np.load(rows)}).values()
    return np.asarray(answered)


@pytest.mark.parametrize(("build", "rows", "answers"), [(tensorflow_serving, "images", "newer"), (bentoml, "images", "newer")])
def test_it_is_served_from_where_it_lies(
    sources: Path, tmp_path: Path, build: Callable[[Path, Path], Path], rows: str, answers: str
) -> None:
    place = build(sources, tmp_path / "folder")
    server = Served(tmp_path / "home", str(place))
    try:
        (name,) = [each["name"] for each in server.said["models"]]
        np.testing.assert_allclose(ask(server, name, sources / f"{rows}.npy"), np.load(sources / f"{answers}.npy"), rtol=1e-4, atol=1e-5)
    finally:
        assert server.end() == 0


def test_a_configuration_of_another_network_is_refused(sources: Path, tmp_path: Path) -> None:
    folder = triton_pytorch(sources, tmp_path / "folder")
    config = folder / "net" / "config.pbtxt"
    config.write_text(config.read_text().replace("dims: [ 6 ]", "dims: [ 7 ]"))
    with pytest.raises(InvalidFile, match=r"has dims \[7\], and the model's has \[6\]"):
        aweigh.pack(folder, "model", sample=sources / "rows.npy")


def test_an_mlflow_model_as_mlflow_pickles_it_needs_trust(sources: Path, tmp_path: Path) -> None:
    folder = mlflow(sources, tmp_path / "folder")
    copied(sources / "whole.pth", folder / "data" / "model.pth")
    with pytest.raises(NotTrusted, match="pickle"):
        aweigh.pack(folder, "model", sample=sources / "rows.npy")
    package = aweigh.pack(folder, "model", sample=sources / "rows.npy", trust=True)
    assert package.manifest.provenance.source_layout == "MLflow model, flavour pytorch: data/model.pth"
