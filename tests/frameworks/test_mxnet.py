"""MXNet from an environment without it: packed in an environment of its own, and answering as MXNet does on rows that packing has not seen."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.frameworks.mxnet_models import ANSWERS, SOURCES

import aweigh
from aweigh.core.errors import InvalidFile, InvalidInput, MissingLibrary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path / "home"))


def _made(kind: str, folder: Path) -> tuple[Path, Path]:
    script, row = SOURCES[kind]
    folder.mkdir()
    random = np.random.default_rng(3)
    np.save(folder / "sample.npy", random.normal(size=(30, *row)).astype(np.float32))
    np.save(folder / "fresh.npy", random.normal(size=(200, *row)).astype(np.float32))
    make("mxnet", script + ANSWERS, folder)
    return folder / "model-symbol.json", folder / "sample.npy"


@pytest.mark.parametrize("kind", ["linear", "mlp", "cnn", "recurrent"])
def test_packed_it_answers_as_mxnet_does(kind: str, tmp_path: Path) -> None:
    source, sample = _made(kind, tmp_path / kind)
    aweigh.pack(source, kind, sample=sample)
    with aweigh.load(kind) as model:
        fresh = np.load(source.parent / "fresh.npy")
        (answered,) = model.infer({model.signature.inputs[0].name: fresh}).values()
    np.testing.assert_allclose(answered, np.load(source.parent / "answers.npy"), atol=1e-5)


def test_the_parameter_file_names_the_same_model_and_picks_the_epoch(tmp_path: Path) -> None:
    source, sample = _made("mlp", tmp_path / "mlp")
    later = source.with_name("model-0001.params")
    later.write_bytes(source.with_name("model-0000.params").read_bytes())
    first = aweigh.pack(source.with_name("model-0000.params"), "first", sample=sample).manifest.provenance
    assert "model-0000.params" in first.source_class
    latest = aweigh.pack(source, "latest", sample=sample).manifest.provenance
    assert "model-0001.params" in latest.source_class
    files = [(file, hashlib.sha256(source.with_name(file).read_bytes()).hexdigest()) for file in ("model-0001.params", source.name)]
    both = "".join(f"{file} sha256:{digest}\n" for file, digest in files)
    assert latest.source_digest == f"sha256:{hashlib.sha256(both.encode()).hexdigest()}"
    assert first.source_digest != latest.source_digest


def test_what_it_cannot_know_it_asks_for(tmp_path: Path) -> None:
    source, sample = _made("mlp", tmp_path / "mlp")
    with pytest.raises(InvalidInput, match="does not say which shape its input 'data' has"):
        aweigh.pack(source, "unsampled")
    with pytest.raises(MissingLibrary, match="no environment may be made") as refused:
        aweigh.pack(source, "refused", sample=sample, no_isolate=True, environments=str(tmp_path / "none"))
    assert "aweigh[mxnet]" not in refused.value.hint, "there is no such extra"


def test_parameters_of_another_network_are_refused(tmp_path: Path) -> None:
    source, sample = _made("mlp", tmp_path / "mlp")
    other, _ = _made("linear", tmp_path / "linear")
    source.with_name("model-0000.params").write_bytes(other.with_name("model-0000.params").read_bytes())
    with pytest.raises((InvalidFile, InvalidInput)):
        aweigh.pack(source, "mixed", sample=sample)


def test_what_mxnet_makes_up_numbers_for_is_refused_when_served(tmp_path: Path) -> None:
    source, sample = _made("mlp", tmp_path / "mlp")
    aweigh.pack(source, "strict", sample=sample)
    with aweigh.load("strict") as model, pytest.raises(InvalidInput, match="NaN"):
        model.infer({"data": np.full((1, 6), np.nan, np.float32)})
