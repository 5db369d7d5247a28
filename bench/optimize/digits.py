"""The digits of scikit-learn in three parts: to train with, to optimise with, and rows that nobody saw until the last check. And weights trained on the first, kept.

Used by the scenarios of digits; the training itself is in `models.py`, run where PyTorch is.
"""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from aweigh.core.settings import Settings
from aweigh.isolate import Environments
from bench.environments import CACHE, ROOT
from bench.processes import BenchError

PLACE: Final = CACHE / "optimize"
TRAIN_S: Final = 900.0
_SEED: Final = 7
_PARTS: Final = {"train": 960, "valid": 97, "held": 440, "last": 300}
"""Of 1,797 rows. `valid` tells training code of its progress; `held` is what optimisers are given."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Rows of each part, and their labels."""

    rows: dict[str, NDArray[np.float32]]
    labels: dict[str, NDArray[np.int64]]
    weights: Path


def digits(kind: str, side: int) -> Digits:
    """Of `side` x `side` pixels; 0 leaves the 64 numbers in a line. Trains the network where its weights are not there yet. Raises BenchError."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(_SEED).permutation(len(pixels))
    at = np.cumsum([0, *_PARTS.values()])
    shaped = _pictures(pixels, side) if side else (pixels / 16).astype(np.float32)
    picked = {part: order[begin:end] for part, begin, end in zip(_PARTS, at, at[1:], strict=False)}
    rows = {part: shaped[some] for part, some in picked.items()}
    right = {part: labels[some].astype(np.int64) for part, some in picked.items()}
    PLACE.mkdir(parents=True, exist_ok=True)
    np.savez(PLACE / f"{kind}.npz", **{f"x_{part}": rows[part] for part in rows}, **{f"y_{part}": right[part] for part in right})
    return Digits(rows=rows, labels=right, weights=_weights(kind, side))


def _pictures(pixels: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Drawn larger, straight lines between the pixels."""
    small = pixels.reshape(-1, 8, 8) / 16
    places = np.clip((np.arange(side) + 0.5) * 8 / side - 0.5, 0, 7)
    low = np.minimum(places.astype(int), 6)
    share = places - low
    for axis in (1, 2):
        shape: list[Any] = [1, 1, 1]
        shape[axis] = side
        first, second = np.take(small, low, axis), np.take(small, low + 1, axis)
        small = first + (second - first) * share.reshape(shape)
    return small[:, None].astype(np.float32)


def _weights(kind: str, side: int) -> Path:
    script = Path(__file__).with_name("models.py")
    wanted = hashlib.sha256(script.read_bytes() + repr((side, _PARTS)).encode()).hexdigest()
    weights, stamp = PLACE / f"{kind}.pt", PLACE / f"{kind}.made-from"
    if not (weights.exists() and stamp.exists() and stamp.read_text() == wanted):
        print(f"bench: training {kind} (once)", file=sys.stderr, flush=True)
        home = Environments(Settings().environments_folder).home("torch")
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), home.code))}
        done = subprocess.run([home.python, "-P", str(script), kind], cwd=ROOT, env=variables, timeout=TRAIN_S, check=False)
        if done.returncode:
            raise BenchError(f"the network {kind!r} could not be trained")
        stamp.write_text(wanted)
    return weights
