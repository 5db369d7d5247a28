"""Models of digits for the passes that train: trained once a session in the environment "train", each with a job as the search would make it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from sklearn.datasets import load_digits
from tests.frameworks.kit import make
from tests.passes.kit import answers, signature_of, write_calibration

from aweigh.core.package import Variant
from aweigh.optimization.passing import Made, PassJob

SIGNATURE = signature_of({"pixels": [64]}, {"output": [10]})
VARIANT = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("variants/onnx/model.onnx",))


@dataclass(frozen=True)
class Digits:
    """Rows in three parts: to train with, to tell the best epoch by, and held out."""

    folder: Path
    x_test: np.ndarray[Any, Any]
    y_test: np.ndarray[Any, Any]

    def job(self, kind: str, folder: Path, **more: Any) -> PassJob:
        with np.load(self.folder / "digits.npz") as rows, np.load(self.folder / f"{kind}.npz") as answered:
            calibration = write_calibration(self.folder / f"{kind}.rows", {"pixels": rows["x_valid"]}, {"output": answered["valid"]})
        job = PassJob(
            variant=VARIANT,
            files={},
            signature=SIGNATURE,
            folder=str(folder / "made"),
            calibration=calibration,
            source=str(self.folder / f"{kind}.pt"),
            factory=f"digits_training:{kind.capitalize()}",
            train="digits_training:train",
            paths=(str(self.folder),),
            time_s=120.0,
        )
        return msgspec.structs.replace(job, **more)

    def accuracy(self, made: Made) -> float:
        """Of what was made, on rows that neither training nor the choice of an epoch saw."""
        (answered,) = answers(made, SIGNATURE, {"pixels": self.x_test})
        return float((answered.argmax(1) == self.y_test).mean())

    def before(self, kind: str) -> float:
        """The source's own."""
        with np.load(self.folder / f"{kind}.npz") as answered:
            return float((answered["test"].argmax(1) == self.y_test).mean())


def write_digits(folder: Path) -> Digits:
    """The rows and the person's module in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    parts = {"train": slice(0, 1000), "valid": slice(1000, 1260), "test": slice(1260, None)}
    np.savez(
        folder / "digits.npz", **{f"{name}_{part}": rows[where] for part, where in parts.items() for name, rows in (("x", x), ("y", y))}
    )
    shutil.copyfile(Path(__file__).with_name("digits_training.py"), folder / "digits_training.py")
    return Digits(folder, x[parts["test"]], y[parts["test"]])


def trained_digits(folder: Path, *kinds: str) -> Digits:
    """And models, trained from the start by the person's own loop."""
    digits = write_digits(folder)
    make("train", "import digits_training\n" + "\n".join(f"digits_training.write({kind!r})" for kind in kinds), folder)
    return digits


def optimised(made: Made) -> list[str]:
    """The kinds of the nodes that ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = f"{made.files['model.onnx']}.optimised"
    onnxruntime.InferenceSession(made.files["model.onnx"], options)
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
