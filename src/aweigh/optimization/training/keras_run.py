"""The source of a package as a live Keras model, a person's training code run on it, and the model written as ONNX. Needs keras, tensorflow, tf2onnx, onnxruntime."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final, cast

import keras
import numpy as np
import tensorflow as tf

from aweigh.core import plugins
from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput, Refused
from aweigh.core.protocols import Progress, quiet
from aweigh.core.tensors import Tensor
from aweigh.optimization.passing import PassJob
from aweigh.optimization.training.hook import Callbacks, Rows, Treatment, called, data_of, far, named, rows_of
from aweigh.optimization.training.written import check_written
from aweigh.runtimes.tensorflow_keras import flat_answer
from aweigh.runtimes.tensorflow_onnx import from_function

_SHARE: Final = 0.85
_SEED: Final = 7
_SAID: Final = 300
_MARK: Final = b"\x89HDF"


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasModel:
    """A model that is the package's, and the search's rows in the order of its inputs."""

    model: Any
    rows: Rows

    def answers(self) -> list[Tensor]:
        """What it answers to all rows, in inference mode."""
        given = [tf.convert_to_tensor(rows) for rows in self.rows.inputs.values()]
        return [np.asarray(each) for each in flat_answer(self.model, given)]


class _State:
    """Keeps the weights of a model in memory."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._kept: list[Tensor] = []

    def keep(self) -> None:
        self._kept = self._model.get_weights()

    def restore(self) -> None:
        self._model.set_weights(self._kept)


class KerasCallbacks(Callbacks):
    """For code that trains by `fit`."""

    def fit(self, metric: str = "") -> Any:
        """A callback for `model.fit(callbacks=[...])` that calls `step` and `epoch`; `metric` is the name of one in the logs of which more is better: "val_accuracy"."""

        def epoch(_: int, logs: dict[str, Any] | None = None) -> None:
            self.epoch(metric=(logs or {})[metric] if metric else None)

        return keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda _, logs=None: self.step((logs or {}).get("loss")), on_epoch_end=epoch
        )


def live_keras(job: PassJob) -> KerasModel:
    """Judge the file, load it, and hold it to the package's answers. Raises NotTrusted, InvalidFile, FileMissing, Refused."""
    path = Path(job.source)
    if not path.exists():
        raise FileMissing(f"{path} does not exist", hint="give the file that the package was packed from with --source")
    cast("Callable[..., None]", plugins.load("judge", "keras"))(path, trust=False)
    rows = rows_of(job)
    made = KerasModel(
        model=_loaded(path), rows=Rows(inputs={spec.name: rows.inputs[spec.name] for spec in job.signature.inputs}, outputs=rows.outputs)
    )
    if len(made.model.inputs) != len(job.signature.inputs):
        raise Refused(
            f"the source takes {len(made.model.inputs)} inputs, the package {len(job.signature.inputs)}",
            hint="give the file that it was packed from",
        )
    expected = [rows.outputs[spec.name] for spec in job.signature.outputs if spec.name in rows.outputs]
    answers = made.answers() if expected else []
    if len(answers) != len(expected) or any(
        one.shape != other.shape or far(one, other) for one, other in zip(answers, expected, strict=True)
    ):
        raise Refused(
            "the source is not the package's model: it answers the same rows otherwise",
            hint="give the file that it was packed from with --source",
        )
    return made


def _loaded(path: Path) -> Any:
    with tempfile.TemporaryDirectory(prefix="aweigh-keras-") as folder:
        with path.open("rb") as file:
            old = file.read(len(_MARK)) == _MARK
        copy = Path(folder) / ("model.h5" if old else "model.keras")
        shutil.copyfile(path, copy)  # Keras goes by the name, which may be any
        try:
            return keras.saving.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises anything on a file it cannot read
            raise InvalidFile(
                f"{path.name}: Keras {keras.__version__} cannot load it: {type(error).__name__}: {str(error).strip()[:_SAID]}",
                hint="save it as .keras with a newer Keras",
            ) from error


def trained_keras(job: PassJob, live: KerasModel, treatment: Treatment, *, progress: Progress = quiet) -> str:
    """Run `--train` on the model; how it went, in words. Raises what the code raised, as InvalidInput."""
    deadline = monotonic() + job.time_s * _SHARE
    function = named("--train", job.train)
    callbacks = KerasCallbacks(treatment=treatment, keeper=_State(live.model), deadline=deadline, own=own_loss, progress=progress)
    keras.utils.set_random_seed(_SEED)
    returned = called(job.train, function, live.model, callbacks, data_of(function, live.rows))
    if returned is not None and returned is not live.model:
        raise InvalidInput(
            f"--train {job.train} returns another model than it was given", hint="train the model in place and return nothing"
        )
    return callbacks.told()


def own_loss(output: Any, target: Any) -> Any:
    """Cross-entropy for classes, the squared error for numbers."""
    if not target.dtype.is_floating and len(output.shape) > 1:
        shares = bool(tf.reduce_all(tf.abs(tf.reduce_sum(output, -1) - 1) < 1e-3))
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(target, output, from_logits=not shares))
    return tf.reduce_mean(tf.square(output - tf.cast(target, output.dtype)))


def write_keras(job: PassJob, live: KerasModel, near: float) -> Path:
    """The model as ONNX under the signature's names. Raises ProofFailed where the file answers otherwise than the model."""
    file = Path(job.folder) / "model.onnx"
    function = tf.function(lambda *flat: flat_answer(live.model, flat), autograph=False)
    specs = [
        tf.TensorSpec(each.shape, each.dtype, name=spec.name) for each, spec in zip(live.model.inputs, job.signature.inputs, strict=True)
    ]
    from_function(function, specs, job.signature, file)
    check_written(job, file, live.rows.inputs, live.answers(), near)
    return file
