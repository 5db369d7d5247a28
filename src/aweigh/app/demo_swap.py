"""The demonstration's second half: a better model is packed as the next version and takes over while clients go on asking, none of whom notices."""

import dataclasses
import importlib
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final, Self

import numpy as np

from aweigh.app.demo import NAME, Trained
from aweigh.app.options import PackOptions
from aweigh.app.pack import pack_and_publish
from aweigh.client import Client
from aweigh.core.errors import AweighError, DeadlineExceeded
from aweigh.core.protocols import Progress, quiet
from aweigh.core.rollout import Report
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor
from aweigh.store import StoredPackage

USERS: Final = 4
ROWS: Final = 300
"""Compared rows after which the new version is promoted."""
_LIMIT_S: Final = 30.0
_POLL_S: Final = 0.1
_AFTERWARDS_S: Final = 0.3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """How the swap went: what clients got by version, what they lost, the comparison, and how it ended."""

    requests: int
    lost: int
    versions: dict[str, int]
    seconds: float
    report: Report


def prove_next(settings: Settings, trained: Trained, progress: Progress = quiet) -> StoredPackage:
    """Train a model with more and smaller steps on the same rows, and pack it as the next version."""
    model = importlib.import_module("joblib").load(trained.folder / "model.joblib")
    features, labels = trained.learned
    model.set_params(gradientboostingclassifier__n_estimators=140, gradientboostingclassifier__learning_rate=0.08)
    path: Path = trained.folder / "model-2.joblib"
    importlib.import_module("joblib").dump(model.fit(features, labels), path)
    options = PackOptions(
        sample=trained.folder / "sample.csv",
        labels=trained.folder / "labels.csv",
        trust=True,
        description="Wisconsin breast cancer",
        command="aweigh demo",
    )
    return pack_and_publish(settings, path, NAME, options=options, progress=progress)


def swap(url: str, trained: Trained, version: int) -> Swapped:
    """Shadow the new version with what clients ask, then let it take over, while they go on. Raises what the server refuses."""
    with _Asking(url, trained) as asking, Client(url) as client:
        bounds = {"latency": None}  # two cores of a busy machine say nothing of two models of one size
        began = time.monotonic()
        report = client.promote(NAME, version, shadow=1.0, promote_after=ROWS, bounds=bounds)
        while report.open:
            if time.monotonic() - began > _LIMIT_S:
                raise DeadlineExceeded(f"version {version} was not promoted within {_LIMIT_S:g} s")
            time.sleep(_POLL_S)
            report = client.rollouts(NAME)[0]
        seconds = time.monotonic() - began
        time.sleep(_AFTERWARDS_S)  # the new version answers a while
    return Swapped(requests=sum(asking.versions.values()) + asking.lost, lost=asking.lost, versions=dict(asking.versions), seconds=seconds, report=report)  # fmt: skip


class _Asking:
    """Clients who each ask for one row after the other."""

    def __init__(self, url: str, trained: Trained) -> None:
        self._url = url
        self._rows = _inputs(trained)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(user,), daemon=True) for user in range(USERS)]
        self.versions: Counter[str] = Counter()
        self.lost = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_LIMIT_S)

    def _ask(self, user: int) -> None:
        with Client(self._url, retries=0) as client:
            at = user
            while not self._stop.is_set():
                at = (at + USERS) % len(self._rows)
                try:
                    self.versions[client.infer(NAME, self._rows[at]).model_version] += 1
                except AweighError:
                    self.lost += 1


def _inputs(trained: Trained) -> list[dict[str, Tensor]]:
    """Rows as the model's own inputs: a column each."""
    return [{name: np.array([[value]], dtype=np.float64) for name, value in row.items()} for row in trained.unseen]
