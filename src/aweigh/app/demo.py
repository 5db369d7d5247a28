"""The demonstration: train a real model on real data, pack it, serve it in a process of its own, ask it over REST and gRPC, end cleanly.

Everything happens through the public commands and client, in a home of its own below the person's, so that each step can be repeated.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from aweigh.app.options import PackOptions
from aweigh.app.pack import pack_and_publish
from aweigh.client import Client
from aweigh.core.errors import InternalError, MissingLibrary, Unavailable, from_dict
from aweigh.core.protocols import Progress, quiet
from aweigh.core.settings import Settings, read_settings
from aweigh.store import StoredPackage

NAME: Final = "breast-cancer"
_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The trained model on disk, and rows it has not seen with the answers that scikit-learn itself gives."""

    folder: Path
    accuracy: float
    rows: list[dict[str, float]]
    expected: list[list[float]]
    seconds: float
    learned: tuple[Any, Any]
    """What it was trained on: a frame and its labels."""
    unseen: list[dict[str, float]]
    """All rows that it has not seen."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came back over one protocol, and how far it is from scikit-learn's own answer."""

    protocol: str
    answers: list[Any]
    max_difference: float
    milliseconds: float


def demo_settings(settings: Settings) -> Settings:
    """The demonstration's own home, below the person's."""
    return read_settings({"home": str(settings.home_folder / "demo")}, environment={})[0]


def train(settings: Settings) -> Trained:
    """Train scaler and gradient boosting on the Wisconsin breast cancer data that ships with scikit-learn. Raises MissingLibrary."""
    started = time.perf_counter()
    try:
        datasets, model_selection = importlib.import_module("sklearn.datasets"), importlib.import_module("sklearn.model_selection")
        ensemble, pipeline = importlib.import_module("sklearn.ensemble"), importlib.import_module("sklearn.pipeline")
        preprocessing, joblib = importlib.import_module("sklearn.preprocessing"), importlib.import_module("joblib")
        importlib.import_module("pandas")
    except ImportError as error:
        raise MissingLibrary(
            f"the demonstration needs {error.name}, which is not installed", hint="pip install 'aweigh[sklearn,client]'"
        ) from None
    features, labels = datasets.load_breast_cancer(return_X_y=True, as_frame=True)
    labels = labels.map({0: "malignant", 1: "benign"})
    train_x, test_x, train_y, test_y = model_selection.train_test_split(features, labels, random_state=7)
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), ensemble.GradientBoostingClassifier(random_state=7)).fit(
        train_x, train_y
    )
    folder = settings.home_folder
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    test_x.to_csv(folder / "sample.csv", index=False)
    test_y.to_csv(folder / "labels.csv", index=False)
    rows = test_x.head(3).to_dict(orient="records")
    (folder / "request.json").write_text(json.dumps({"rows": rows}))
    expected = model.predict_proba(test_x.head(3)).tolist()
    accuracy = float(model.score(test_x, test_y))
    return Trained(
        folder=folder,
        accuracy=accuracy,
        rows=rows,
        expected=expected,
        seconds=time.perf_counter() - started,
        learned=(train_x, train_y),
        unseen=test_x.to_dict(orient="records"),
    )


def prove(settings: Settings, trained: Trained, progress: Progress = quiet) -> StoredPackage:
    """Pack the model file, as `aweigh pack` does."""
    options = PackOptions(
        sample=trained.folder / "sample.csv",
        labels=trained.folder / "labels.csv",
        trust=True,
        description="Wisconsin breast cancer",
        command="aweigh demo",
    )
    return pack_and_publish(settings, trained.folder / "model.joblib", NAME, options=options, progress=progress)


@contextlib.contextmanager
def served(settings: Settings, reference: str) -> Iterator[dict[str, Any]]:
    """A server in a process of its own: what it says of itself once it is ready. Ended by SIGTERM, and waited for."""
    command = [sys.executable, "-m", "aweigh.cli.main", "--home", str(settings.home_folder), "serve", reference, "--port", "0", "--json"]
    log = settings.home_folder / "serve.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        try:
            yield _announcement(process, log)
        finally:
            _end(process)


def _announcement(process: "subprocess.Popen[str]", log: Path) -> dict[str, Any]:
    """The JSON document that the server prints when it is ready."""
    if process.stdout is None:
        raise InternalError("the server's output is not connected")
    deadline, text, decoder = time.monotonic() + _START_TIMEOUT_S, "", json.JSONDecoder()
    for line in process.stdout:
        text += line
        with contextlib.suppress(json.JSONDecodeError):
            found: dict[str, Any] = decoder.raw_decode(text)[0]
            if "error" in found:
                raise from_dict(found["error"])
            return found
        if time.monotonic() > deadline:
            break
    raise Unavailable("the server did not start", hint=f"its log is {log}")


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def ask_rest(url: str, trained: Trained, package: StoredPackage) -> Asked:
    """Rows of named columns over REST."""
    labels = package.manifest.signature.labels
    return _ask(
        "REST",
        url,
        lambda client: client.predict(NAME, trained.rows),
        trained,
        lambda row: [row[f"probability_{label}"] for label in labels],
    )


def ask_grpc(url: str, trained: Trained, package: StoredPackage) -> Asked:
    """The same rows as tensors over gRPC, on the same port. Raises MissingLibrary without grpcio."""
    labels = package.manifest.signature.labels
    target = url.replace("http://", "grpc://")
    return _ask("gRPC", target, lambda client: client.predict(NAME, trained.rows), trained, lambda row: _probabilities(row, len(labels)))


def _probabilities(row: Mapping[str, Any], count: int) -> list[float]:
    """Over gRPC a row carries the outputs under their own names: the probabilities are the one list."""
    for value in row.values():
        if isinstance(value, list) and len(value) == count:
            return value
    return [float(value) for value in row.values() if isinstance(value, float)]


def _ask(
    protocol: str, url: str, ask: Callable[[Client], Any], trained: Trained, probabilities: Callable[[Mapping[str, Any]], list[float]]
) -> Asked:
    with Client(url) as client:
        ask(client)  # the first request opens the connection
        started = time.perf_counter()
        answers = ask(client)
        milliseconds = (time.perf_counter() - started) * 1000
    pairs = zip(answers, trained.expected, strict=True)
    gaps = [abs(a - b) for answer, expected in pairs for a, b in zip(probabilities(answer), expected, strict=True)]
    return Asked(protocol=protocol, answers=list(answers), max_difference=max(gaps), milliseconds=milliseconds)
