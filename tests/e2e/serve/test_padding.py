"""Requests of different lengths on real servers: packed with padding they run together and answer as each alone; without proof they do not."""

import contextlib
import http.client
import json
import queue
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tests.serving.models import encoder
from tests.serving.served import AWEIGH, Served

Serve = Callable[..., Served]
Asked = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `encoder`, which has a mask, and `unmasked`; both packed by command with padding."""
    folder = tmp_path_factory.mktemp("texts")
    for name, pads in (("encoder", ["ids=0", "mask=0"]), ("unmasked", ["ids=0"])):
        file = encoder(folder, masked=name == "encoder")
        random = np.random.default_rng(1)
        sample = {"ids": random.integers(1, 50, (24, 9)), "mask": np.ones((24, 9), np.int64)}
        np.savez(folder / "sample.npz", **{key: sample[key] for key in ("ids", "mask")[: len(pads)]})
        words = [str(AWEIGH), "pack", str(file), "--name", name, "--sample", str(folder / "sample.npz"), "--home", str(folder / "home")]
        done = subprocess.run(
            [*words, *(word for pad in pads for word in ("--pad", pad))], capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(rf"padding-invariance +{'passed' if name == 'encoder' else 'FAILED'}", done.stdout), done.stdout
    return folder / "home"


def requests(count: int, *, most_rows: int) -> list[Asked]:
    random = np.random.default_rng(8)
    made = []
    for _ in range(count):
        shape = (int(random.integers(1, most_rows + 1)), int(random.integers(1, 30)))
        mask = (random.random(shape) < 0.8).astype(np.int64)
        mask[:, 0] = 1
        made.append({"ids": random.integers(1, 50, shape), "mask": mask})
    return made


def given(module: object, asked: Asked) -> list[object]:
    tensors = []
    for name, values in asked.items():
        tensor = module.InferInput(name, list(values.shape), "INT64")  # type: ignore[attr-defined]
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    return tensors


def outputs(result: object) -> dict[str, np.ndarray]:
    return {name: result.as_numpy(name) for name in ("tokens", "embedding")}  # type: ignore[attr-defined]


def executions(server: Served, model: str) -> int:
    [found] = json.loads(server.get(f"/v2/models/{model}/stats"))["model_stats"]
    return int(found["execution_count"])


def alone(server: Served, model: str, asked: list[Asked]) -> list[dict[str, np.ndarray]]:
    with triton_http.InferenceServerClient(server.target) as client:
        return [outputs(client.infer(model, given(triton_http, each))) for each in asked]


@contextlib.contextmanager
def standing_still(server: Served) -> Iterator[None]:
    """What is sent meanwhile is there all at once when it goes on."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
        time.sleep(0.2)
    finally:
        server.process.send_signal(signal.SIGCONT)


def together_rest(server: Served, model: str, asked: list[Asked]) -> list[dict[str, np.ndarray]]:
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in asked]
    for connection in connections:
        connection.request("GET", "/live")
        connection.getresponse().read()
    with standing_still(server):
        for connection, each in zip(connections, asked, strict=True):
            inputs = [{"name": name, "shape": values.shape, "datatype": "INT64", "data": values.tolist()} for name, values in each.items()]
            connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}))
    found = []
    for connection in connections:
        told = json.loads(connection.getresponse().read())["outputs"]
        found.append({each["name"]: np.array(each["data"], np.float32).reshape(each["shape"]) for each in told})
        connection.close()
    return found


def together_grpc(server: Served, model: str, asked: list[Asked]) -> list[dict[str, np.ndarray]]:
    done: queue.Queue[tuple[int, object]] = queue.Queue()
    with triton_grpc.InferenceServerClient(server.target) as client:
        client.is_server_live()
        with standing_still(server):
            for at, each in enumerate(asked):
                client.async_infer(model, given(triton_grpc, each), lambda result, error, at=at: done.put((at, error or result)))
        answers = dict(done.get(timeout=30) for _ in asked)
    return [outputs(answers[at]) for at in range(len(asked))]


def close(one: list[dict[str, np.ndarray]], two: list[dict[str, np.ndarray]]) -> bool:
    return all(
        mine[name].shape == other[name].shape and np.allclose(mine[name], other[name], atol=1e-5)
        for mine, other in zip(one, two, strict=True)
        for name in mine
    )


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
def test_different_lengths_run_together_and_answer_as_alone(serve_from: Serve, texts: Path, executor: str, grpc: bool) -> None:
    inline = executor == "inline"
    asked = requests(60, most_rows=2 if inline else 1)  # one row each: what a row costs is not guessed from a busy machine's noise
    server = serve_from(texts, "encoder", "--executor", executor, "--max-queue", "1000", "--threads", "1")
    expected = alone(server, "encoder", asked)
    before = executions(server, "encoder")
    assert before == len(asked)
    assert close((together_grpc if grpc else together_rest)(server, "encoder", asked), expected)
    assert executions(server, "encoder") - before < (len(asked) / 2 if inline else len(asked))


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_without_proof_of_padding_only_equal_lengths_run_together(serve_from: Serve, texts: Path, executor: str) -> None:
    asked = [{"ids": np.arange(1, 2 + at)[None] % 50} for at in range(30)]
    server = serve_from(texts, "unmasked", "--executor", executor, "--max-queue", "1000", "--threads", "1")
    expected = alone(server, "unmasked", asked)
    assert close(together_grpc(server, "unmasked", asked), expected)
    assert executions(server, "unmasked") == 2 * len(asked)


@pytest.mark.parametrize(
    ("pads", "text"),
    [
        (["ids=0"], "axis 'sequence' is shared by 'ids' and 'mask'"),
        (["ids=0", "mask=no"], "input 'mask' cannot be padded with 'no'"),
        (["ids=0", "masc=0"], "unexpected input 'masc'"),
        (["ids"], "is no INPUT=VALUE"),
        (["ids=0", "ids=1"], "names input 'ids' twice"),
    ],
)
def test_padding_that_does_not_fit_is_refused_in_words(texts: Path, tmp_path: Path, pads: list[str], text: str) -> None:
    words = [
        str(AWEIGH),
        "pack",
        str(texts.parent / "encoder.onnx"),
        "--home",
        str(tmp_path),
        *(word for pad in pads for word in ("--pad", pad)),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2, done.stderr
    assert text in " ".join(done.stderr.split())


def test_show_tells_the_padding(texts: Path) -> None:
    done = subprocess.run([str(AWEIGH), "show", "encoder", "--home", str(texts)], capture_output=True, text=True, timeout=60, check=True)
    assert "padded with" in done.stdout
    assert re.search(r"padding-invariance +passed", done.stdout)
