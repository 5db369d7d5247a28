"""Models asked with what a person has: image and WAV files, through curl, forms, base64, the clients, the command; bad files answered as such."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from tests.serving.served import Served

import aweigh
from aweigh.core.errors import InvalidInput
from aweigh.packing.media_sample import sound_file
from aweigh.runtimes.images import image_file

DIGITS = load_digits()
PIXELS = (np.kron(DIGITS.images, np.ones((2, 2))) * 15.9375).astype(np.uint8)
RATE = 8000
HERTZ = {"low": 200.0, "middle": 700.0, "high": 2000.0}


def tone(hertz: float, seed: int, *, rate: int = RATE) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    time = np.arange(rate // 2) / rate
    return 0.4 * np.sin(2 * np.pi * (hertz * random.uniform(0.9, 1.1) * time + random.uniform())) + random.normal(0, 0.02, len(time))


def digits_model(file: Path) -> LogisticRegression:
    """A linear classifier of 16 x 16 pixels as ONNX, which gives logits."""
    estimator = LogisticRegression(max_iter=100).fit(PIXELS[:600].reshape(600, -1) / 255, DIGITS.target[:600])
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"]), helper.make_node("Gemm", ["flat", "W", "b"], ["logits"])]
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(estimator.coef_.T.astype(np.float32), "W"), numpy_helper.from_array(estimator.intercept_.astype(np.float32), "b")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))
    return estimator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def estimator(folder: Path) -> LogisticRegression:
    """The classifier that `digits` was packed from, from a folder of images; `tones` hears sounds by their bands."""
    found = digits_model(folder / "digits.onnx")
    images = folder / "images"
    images.mkdir()
    for at in range(30):
        (images / f"{at:02}.png").write_bytes(image_file(PIXELS[at]))
    (folder / "labels.txt").write_text("\n".join(map(str, range(10))))
    command = ["pack", str(folder / "digits.onnx"), "--name", "digits", "--sample", str(images)]
    command += ["--image", "size=16x16 mode=grey scale=1/255", "--answer", f"labels=@{folder / 'labels.txt'} softmax"]
    done = subprocess.run(
        [str(Path(sys.executable).parent / "aweigh"), *command],
        env={"AWEIGH_HOME": str(folder / "home"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    sounds = [(name, tone(hertz, seed)) for seed in range(30) for name, hertz in HERTZ.items()]
    from aweigh.core.steps import Mel
    from aweigh.runtimes.sounds import log_mel

    mel = Mel(bands=20, window=256, hop=256)
    features = np.stack([log_mel(samples.astype(np.float32), RATE, mel).reshape(-1) for _, samples in sounds])
    hears = LogisticRegression(max_iter=300).fit(features, [name for name, _ in sounds])
    files = [sound_file(samples, RATE) for _, samples in sounds[:20]]
    aweigh.pack(
        hears, "tones", sample=files, sound=f"rate={RATE} seconds=0.5 mel=20 window=256 hop=256 layout=flat", home=str(folder / "home")
    )
    return found


@pytest.fixture(scope="module")
def server(folder: Path, estimator: LogisticRegression) -> Iterator[Served]:
    shared = Served(folder / "home", "digits", "tones")
    yield shared
    assert shared.end() == 0, shared.log


def expected(estimator: LogisticRegression, at: int) -> np.ndarray[Any, Any]:
    return np.asarray(estimator.predict_proba(PIXELS[at].reshape(1, -1) / 255)[0])


def chances(row: dict[str, Any]) -> list[float]:
    return [row[f"probability_{at}"] for at in range(10)]


def jpeg(pixels: np.ndarray[Any, Any], size: tuple[int, int] = (16, 16)) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_the_file_is_the_body(server: Served, estimator: LogisticRegression) -> None:
    for at in (700, 701, 702):
        answer = httpx.post(f"{server.url}/predict/digits", content=image_file(PIXELS[at]), headers={"content-type": "image/png"})
        assert answer.status_code == 200, answer.text
        row = answer.json()["predictions"][0]
        assert row["label"] == str(expected(estimator, at).argmax())
        np.testing.assert_allclose(chances(row), expected(estimator, at), atol=1e-4)
    answer = httpx.post(
        f"{server.url}/predict/digits/versions/1", content=jpeg(PIXELS[700], (64, 64)), headers={"Content-Type": "Image/JPEG; x=y"}
    )
    assert answer.json()["predictions"][0]["label"] == str(expected(estimator, 700).argmax())


def test_forms_and_base64_and_tensors(server: Served, estimator: LogisticRegression) -> None:
    files = [("file", (f"{at}.png", image_file(PIXELS[at]), "image/png")) for at in (700, 701)]
    form = httpx.post(f"{server.url}/predict/digits", files=files).json()["predictions"]
    rows = [{"image": base64.b64encode(image_file(PIXELS[at])).decode()} for at in (700, 701)]
    plain = httpx.post(f"{server.url}/predict/digits", json={"rows": rows}).json()["predictions"]
    assert form == plain
    body = {"inputs": [{"name": "image", "shape": [2, 1], "datatype": "BYTES", "data": [row["image"] for row in rows]}]}
    outputs = httpx.post(f"{server.url}/v2/models/digits/infer", json=body).json()["outputs"]
    np.testing.assert_allclose(outputs[1]["data"], [*chances(form[0]), *chances(form[1])], rtol=1e-6)
    assert [row["label"] for row in form] == [str(expected(estimator, at).argmax()) for at in (700, 701)]


@pytest.mark.parametrize("model", ["digits", "tones"])
def test_no_rows_are_answered_by_none(server: Served, model: str) -> None:
    about = httpx.get(f"{server.url}/v2/models/{model}", timeout=30).json()
    asked = {"inputs": [{"name": about["inputs"][0]["name"], "shape": [0, 1], "datatype": "BYTES", "data": []}]}
    answer = httpx.post(f"{server.url}/v2/models/{model}/infer", json=asked, timeout=30)
    assert answer.status_code == 200, answer.text
    assert [(each["shape"][0], each["data"]) for each in answer.json()["outputs"]] == [(0, [])] * len(about["outputs"])


def test_curl(server: Served, folder: Path, estimator: LogisticRegression) -> None:
    file = folder / "images" / "05.png"
    for words in (["-F", f"file=@{file}"], ["-H", "Content-Type: image/png", "--data-binary", f"@{file}"]):
        done = subprocess.run(["curl", "-s", *words, f"{server.url}/predict/digits"], capture_output=True, text=True, timeout=30)
        assert json.loads(done.stdout)["predictions"][0]["label"] == str(expected(estimator, 5).argmax()), done


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_clients(server: Served, folder: Path, estimator: LogisticRegression, protocol: Any) -> None:
    file = folder / "images" / "07.png"
    with aweigh.Client(server.url, protocol=protocol) as client:
        assert client.predict("digits", file)["label"] == str(expected(estimator, 7).argmax())
        assert client.predict("digits", [{"image": file.read_bytes()}])[0] == client.predict("digits", file.read_bytes())
        silence = sound_file(np.zeros(RATE // 2), RATE)
        assert client.predict("tones", silence)["label"] in HERTZ
        with pytest.raises(InvalidInput, match="not a WAV file"):
            client.predict("tones", file)


def test_the_command(folder: Path, estimator: LogisticRegression) -> None:
    aweigh_command = str(Path(sys.executable).parent / "aweigh")
    done = subprocess.run(
        [aweigh_command, "predict", "digits", str(folder / "images"), "--json"],
        env={"AWEIGH_HOME": str(folder / "home"), "PATH": ""}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert [row[0] for row in said["data"]] == [str(expected(estimator, at).argmax()) for at in range(30)]


def test_a_wav_file_is_heard_at_any_rate(server: Served) -> None:
    right = 0
    for seed in range(100, 110):
        for name, hertz in HERTZ.items():
            for rate in (RATE, 44100):
                body = sound_file(tone(hertz, seed, rate=rate), rate)
                answer = httpx.post(f"{server.url}/predict/tones", content=body, headers={"content-type": "audio/wav"})
                right += answer.json()["predictions"][0]["label"] == name
    assert right == 60


def test_what_is_asked_for_is_told(server: Served) -> None:
    said = httpx.get(f"{server.url}/predict/tones").json()
    assert said["columns"] == [{"name": "sound", "kind": "sound", "nullable": False, "categories": []}]
    assert said["labels"] == ["high", "low", "middle"]


@pytest.mark.parametrize(
    ("model", "kind", "takes"),
    [
        ("digits", "image/webp", "image/png or image/jpeg"),
        ("digits", "audio/wav", "image/png"),
        ("tones", "image/png", "audio/wav"),
        ("tones", "application/octet-stream", "application/json"),
    ],
)
def test_other_types_are_refused_by_name(server: Served, model: str, kind: str, takes: str) -> None:
    answer = httpx.post(f"{server.url}/predict/{model}", content=b"x", headers={"content-type": kind})
    assert answer.status_code == 415
    assert takes in answer.json()["hint"]
    assert kind in answer.json()["error"]


def test_broken_files_and_forms_are_the_senders_mistake(server: Served) -> None:
    whole = image_file(PIXELS[3])
    for body, kind in (
        (whole[:50], "image/png"),
        (b"", "image/png"),
        (sound_file(np.zeros(9), RATE), "image/png"),
        (b"--x\r\n\r\n" + whole, "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\nno head\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data"),
        (b'{"rows":[{"image":"/etc/passwd"}]}', "application/json"),
        (b'{"rows":[{"image":null}]}', "application/json"),
        (b'{"rows":[{"image":5}]}', "application/json"),
    ):
        answer = httpx.post(f"{server.url}/predict/digits", content=body, headers={"content-type": kind})
        assert answer.status_code == 400, (body[:20], answer.text)
        assert answer.json()["code"] == "invalid-input"
    assert httpx.post(f"{server.url}/predict/digits", content=whole, headers={"content-type": "image/png"}).status_code == 200
