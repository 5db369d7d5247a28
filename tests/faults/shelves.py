"""A store that a test may change, and what it asks of a server that serves from it."""

import http.client
import json
import shutil
from pathlib import Path

import numpy as np
from tests.serving.models import linear
from tests.serving.served import Served

import aweigh
from aweigh.core.names import parse_reference
from aweigh.store import Store


def shelf_of(home: Path, folder: Path) -> Path:
    """A copy of the store, to publish into."""
    shutil.copytree(home, folder / "shelf")
    return folder / "shelf"


def pack_next(shelf: Path, folder: Path, *, seed: int = 5) -> str:
    """Publish a next version of `linear` with weights of its own; its reference."""
    weights = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    sample = np.random.default_rng(seed).normal(size=(9, 4)).astype("<f4")
    return str(aweigh.pack(str(linear(folder, weights)), "linear", sample=sample, home=str(shelf)).reference)


def model_blob(shelf: Path, reference: str) -> Path:
    """The blob of a version's ONNX file."""
    package = Store(shelf / "store").open(parse_reference(reference))
    digest = next(file.digest for file in package.manifest.files if file.path.endswith(".onnx"))
    return shelf / "store/blobs/sha256" / digest.removeprefix("sha256:")


def post(server: Served, path: str, document: object = None) -> tuple[int, dict[str, object]]:
    """Status and document of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", path, json.dumps({} if document is None else document))
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read() or b"{}")
    connection.close()
    return found


def load(server: Served, version: int = 0) -> tuple[int, dict[str, object]]:
    """Have the server load a version of `linear`, the newest where none is said."""
    return post(server, "/v2/repository/models/linear/load", {"parameters": {"version": str(version)}} if version else {})


def index(server: Served) -> dict[tuple[str, str], tuple[str, str]]:
    """State and reason of each version in the store, by name and version."""
    status, lines = post(server, "/v2/repository/index")
    assert status == 200, lines
    return {(line["name"], line["version"]): (line["state"], line["reason"]) for line in lines}


def metric(server: Served, name: str) -> float:
    """The value of a metric without labels."""
    return next(float(line.split()[1]) for line in server.get("/metrics").decode().splitlines() if line.startswith(f"{name} "))


def metric_of(server: Served, name: str, model: str = "") -> float:
    """The sum of a metric over its labels, of one model where it is named."""
    lines = [line for line in server.get("/metrics").decode().splitlines() if line.startswith(f"{name}{{") and f'model="{model}' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def logged(server: Served, event: str) -> list[dict[str, object]]:
    """Events of that text in the server's log."""
    lines = [json.loads(line) for line in list(server.log) if line.startswith("{")]
    return [line for line in lines if event in line["event"]]
