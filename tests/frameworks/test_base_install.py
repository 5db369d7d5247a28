"""From the base install alone, without any framework: sources of five of them are packed through isolated environments, with an index and without one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.frameworks.mxnet_models import SOURCES
from tests.frameworks.tensorflow_models import NETWORKS
from tests.installs import install_base, run

pytestmark = [pytest.mark.slow, pytest.mark.index, pytest.mark.timeout(900)]

KERAS = (
    NETWORKS
    + """
model, x = made(dense)
model.save("dense.keras")
model.export("saved", verbose=False)
np.save("dense.npy", x)
"""
)
PROGRAM = """
import numpy as np, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
rows = torch.randn(20, 6)
torch.export.save(torch.export.export(model, (rows,), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},)), "small.pt2")
np.save("small.npy", rows.numpy())
"""
NOWHERE = "http://127.0.0.1:9/"
"""Nobody listens there."""
FROZEN = "from importlib.metadata import distributions as d; print(sorted((e.name, e.version) for e in d()))"
KINDS = {
    "keras": ("dense.keras", "dense.npy", {"tensorflow"}),
    "savedmodel": ("saved", "dense.npy", {"tensorflow"}),
    "pt2": ("small.pt2", "small.npy", {"torch"}),
    "mxnet": ("model-symbol.json", "mxnet.npy", {"mxnet", "pack"}),
    "huggingface": ("classifier", "", {"huggingface"}),
}
"""By kind: the source, its sample, and the environments that it takes."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    make("tensorflow", KERAS, folder)
    make("torch", PROGRAM, folder)
    script, row = SOURCES["mlp"]
    np.save(folder / "mxnet.npy", np.random.default_rng(3).normal(size=(30, *row)).astype(np.float32))
    make("mxnet", script, folder)
    return make("huggingface", Path(__file__).with_name("huggingface_models.py").read_text(encoding="utf-8"), folder)


def pack(installed: Path, folder: Path, home: Path, kind: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """By the command of the install, whose PATH has uv where this machine has one beside the tests."""
    source, sample, _ = KINDS[kind]
    words = ["pack", source, "--name", kind, "--json", "--home", str(home), *(["--sample", sample] if sample else []), *more]
    path = os.pathsep.join((str(installed), str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    return subprocess.run(
        [installed / "aweigh", *words],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def packed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize("kind", KINDS)
def test_packed_through_environments_that_leave_the_callers_as_it_was(installed: Path, sources: Path, tmp_path: Path, kind: str) -> None:
    before = run(installed / "python", "-c", FROZEN)
    assert not any(name in before for name in ("'torch'", "'tensorflow", "'onnx'", "'transformers'", "'mxnet'", "'uv'"))
    document = packed(pack(installed, sources, tmp_path, kind))
    first = document["manifest"]["variants"][0]
    assert first["evidence"]["passed"]
    assert first["runtime"] == "onnxruntime"
    assert set(document["environments"]) == KINDS[kind][2]
    assert run(installed / "python", "-c", FROZEN) == before


def test_once_made_it_asks_no_index_and_costs_next_to_nothing(installed: Path, sources: Path, tmp_path: Path) -> None:
    nobody = {"UV_DEFAULT_INDEX": NOWHERE, "PIP_INDEX_URL": NOWHERE, "UV_FIND_LINKS": "", "PIP_FIND_LINKS": ""}
    document = packed(pack(installed, sources, tmp_path, "pt2", **nobody))
    assert document["environments"]["torch"] < 5.0


def test_one_that_must_be_made_comes_from_the_installers_cache(installed: Path, tmp_path: Path) -> None:
    """What was installed once, anywhere, needs no index to be installed again: the index is the same, and out of reach."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    aweigh = (installed / "aweigh", "env", "make", "pack", "--json", "--home", tmp_path)
    run(*aweigh, PATH=path, AWEIGH_ENVIRONMENTS=str(tmp_path / "first"))
    blind = {name: NOWHERE for each in ("http_proxy", "https_proxy", "all_proxy") for name in (each, each.upper())}
    made = json.loads(run(*aweigh, PATH=path, AWEIGH_ENVIRONMENTS=str(tmp_path / "second"), NO_PROXY="", no_proxy="", **blind))
    assert [each["name"] for each in made["environments"]] == ["pack"]
    run(Path(made["environments"][0]["folder"]) / "bin" / "python", "-c", "import onnx, pandas")


def test_no_isolate_refuses_with_the_command_to_run(installed: Path, sources: Path, tmp_path: Path) -> None:
    done = pack(installed, sources, tmp_path, "pt2", "--no-isolate", AWEIGH_ENVIRONMENTS=str(tmp_path / "none"))
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "no environment may be made" in said
    assert "aweigh env make torch" in said
    assert not (tmp_path / "none").exists()
