"""A detector of digits and a recommender of two towers, from PyTorch to `POST /predict`: the right boxes in the image that was sent, the right items in their order."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image
from tests.frameworks.kit import make
from tests.serving.served import Served

import aweigh
from aweigh.core.agreement import shared
from aweigh.core.evidence import Evidence
from aweigh.core.signature import Task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SCRIPT = Path(__file__).with_name("detector_models.py")
WORDS = "labels=zero,one,three boxes=boxes scores=scores score=0.5 overlap=0.4 most=20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make("torch", SCRIPT.read_text(encoding="utf-8") + "\nwrite()\n", tmp_path_factory.mktemp("detector"))
    pictures = np.load(made / "pictures.npz")["arr_0"]
    package = aweigh.pack(
        made / "detector.pt2", "detector", sample=pictures, image="size=64 mode=grey scale=1/255", answer=WORDS, home=str(made / "home")
    )
    (made / "evidence.json").write_bytes(msgspec.json.encode(package.manifest.variants[0].evidence))
    aweigh.pack(made / "towers.pt2", "towers", sample={"user": np.arange(40)}, home=str(made / "home"))
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    shared_server = Served(folder / "home", "detector", "towers")
    yield shared_server
    assert shared_server.end() == 0, shared_server.log


def asked(server: Served, pixels: np.ndarray[Any, Any], size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    file = BytesIO()
    image = Image.fromarray(pixels)
    (image.resize(size, Image.Resampling.LANCZOS) if size else image).save(file, "PNG")
    answer = httpx.post(f"{server.url}/predict/detector", content=file.getvalue(), headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["predictions"][0]["detections"])


def test_the_right_boxes(server: Served, folder: Path) -> None:
    pictures, truth = np.load(folder / "pictures.npz")["arr_0"], json.loads((folder / "truth.json").read_text())
    right = wanted = 0
    for picture, there in zip(pictures, truth, strict=True):
        found = asked(server, picture)
        wanted += max(len(there), len(found))
        for kind, box in there:
            named = [np.array(each["box"]) for each in found if each["label"] == ("zero", "one", "three")[kind]]
            right += bool(named) and float(shared(np.array(box, dtype=np.float64), np.stack(named)).max()) > 0.6
    assert right >= 0.95 * wanted, f"{right} of {wanted}"


def test_boxes_are_those_of_the_model_itself(server: Served, folder: Path) -> None:
    pictures = np.load(folder / "pictures.npz")["arr_0"]
    with np.load(folder / "answers.npz") as answers:
        boxes, scores = answers["boxes"], answers["scores"]
    for at in range(10):
        found = asked(server, pictures[at])
        assert found
        for each in found:
            kind = ("zero", "one", "three").index(each["label"])
            cell = int(np.abs(scores[at, :, kind] - each["score"]).argmin())
            assert scores[at, cell, kind] == pytest.approx(each["score"], abs=1e-5)
            np.testing.assert_allclose(each["box"], np.clip(boxes[at, cell], 0, 64), atol=1e-2)


def test_boxes_are_in_pixels_of_the_image_that_was_sent(server: Served, folder: Path) -> None:
    picture = np.load(folder / "pictures.npz")["arr_0"][0]
    small, large = asked(server, picture), asked(server, picture, (256, 128))
    assert [each["label"] for each in small] == [each["label"] for each in large]
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(np.array(one["box"]) * [4, 2, 4, 2], other["box"], atol=6)


def test_the_proof_of_a_detector_compares_boxes(folder: Path) -> None:
    with aweigh.load("detector", home=str(folder / "home")) as model:
        assert model.signature.task is Task.DETECTION
    evidence = msgspec.json.decode((folder / "evidence.json").read_bytes(), type=Evidence)
    (check,) = [each for each in evidence.checks if each.name == "boxes"]
    assert check.passed
    assert (check.figures["boxes"] or 0) > 9
    assert evidence.batch_invariant


def test_a_recommender_keeps_its_order(server: Served, folder: Path) -> None:
    with np.load(folder / "first.npz") as first:
        scores, items = first["scores"], first["items"]
    answer = httpx.post(f"{server.url}/predict/towers", json={"rows": [{"user": user} for user in range(40)]}).json()["predictions"]
    assert [row["items"] for row in answer] == items.tolist()
    np.testing.assert_allclose([row["scores"] for row in answer], scores, atol=1e-5)
    assert all(item % 7 == user % 7 for user, row in enumerate(answer) for item in row["items"])
    with aweigh.load("towers", home=str(folder / "home")) as model:
        assert model.signature.task is Task.RETRIEVAL
