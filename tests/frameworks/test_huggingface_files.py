"""Hugging Face folders asked with images and sounds: their processors become declared steps, and answers are transformers' own, through `POST /predict` too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.serving.served import Served

import aweigh
from aweigh.packing.media_sample import sound_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCRIPT = Path(__file__).with_name("huggingface_file_models.py")
LABELS = ("calm", "rough", "storm")
MODELS = ("vit", "vit-several", "vit-one", "vit-numbers", "wav2vec2", "wav2vec2-several")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make("huggingface", SCRIPT.read_text(encoding="utf-8") + "\nwrite()\n", tmp_path_factory.mktemp("files"))
    for name in MODELS:
        aweigh.pack(made / name, name, home=str(made / "home"))
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    shared = Served(folder / "home", *MODELS)
    yield shared
    assert shared.end() == 0, shared.log


def answers(folder: Path, name: str) -> list[Any]:
    return list(json.loads((folder / "answers.json").read_text())[name])


def sounds(folder: Path) -> list[bytes]:
    with np.load(folder / "sounds.npz") as found:
        return [sound_file(found[str(at)], 16000) for at in range(4)]


def test_images_of_every_size(server: Served, folder: Path) -> None:
    for at, expected in enumerate(answers(folder, "vit")):
        body = (folder / f"{at}.png").read_bytes()
        row = httpx.post(f"{server.url}/predict/vit", content=body, headers={"content-type": "image/png"}).json()["predictions"][0]
        assert row["label"] == LABELS[int(np.argmax(expected))]
        np.testing.assert_allclose([row[f"probability_{label}"] for label in LABELS], expected, atol=1e-5, rtol=1e-4)


def test_sounds_of_every_length(server: Served, folder: Path) -> None:
    for file, expected in zip(sounds(folder), answers(folder, "wav2vec2"), strict=True):
        row = httpx.post(f"{server.url}/predict/wav2vec2", content=file, headers={"content-type": "audio/wav"}).json()["predictions"][0]
        assert row["label"] == LABELS[int(np.argmax(expected))]
        np.testing.assert_allclose([row[f"probability_{label}"] for label in LABELS], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("vit-several", tuple(f"probability_{label}" for label in LABELS)),
        ("vit-one", ("probability_storm",)),
        ("vit-numbers", ("prediction",)),
        ("wav2vec2-several", tuple(f"probability_{label}" for label in LABELS)),
    ],
)
def test_several_labels_at_once_one_label_and_numbers_as_the_pipelines_answer(
    server: Served, folder: Path, name: str, columns: tuple[str, ...]
) -> None:
    heard = name.startswith("wav2vec2")
    expected = answers(folder, name)
    files = sounds(folder) if heard else [(folder / f"{at}.png").read_bytes() for at in range(len(expected))]
    for file, numbers in zip(files, expected, strict=True):
        kind = "audio/wav" if heard else "image/png"
        row = httpx.post(f"{server.url}/predict/{name}", content=file, headers={"content-type": kind}).json()["predictions"][0]
        assert tuple(row) == columns, "no likeliest label where several may be right"
        found = row["prediction"] if columns == ("prediction",) else [row[column] for column in columns]
        np.testing.assert_allclose(found, numbers, atol=1e-5, rtol=1e-4)
