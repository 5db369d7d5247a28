"""Keras 3: a model becomes a proven ONNX variant, else a SavedModel that TensorFlow runs. Found through `core/plugins.py`.

What a file names was judged before this file, and Keras with it, was imported (`keras_judge.py`).
"""

import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import keras
import tensorflow as tf

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Axis, Signature, TensorSpec
from aweigh.core.tensors import Tensor
from aweigh.core.versions import installed, requirements
from aweigh.packing.frameworks.keras_inside import layer_landmarks
from aweigh.packing.frameworks.keras_judge import CONFIG, METADATA, WEIGHTS
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.frameworks.tensorflow_onnx import ENTRY, onnx_ways
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised
from aweigh.runtimes.tensorflow import DEFAULT
from aweigh.runtimes.tensorflow_keras import flat_answer
from aweigh.runtimes.tensorflow_onnx import from_function
from aweigh.runtimes.tensorflow_tensors import as_tensorflow, datatype_of_tensorflow, from_tensorflow

LIBRARIES: Final = ("keras", "tensorflow-cpu", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy")
_SAID: Final = 400


class KerasFramework:
    """Packs Keras models."""

    name = "keras"

    def accepts(self, model: object) -> bool:
        return isinstance(model, keras.Model)

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Any:
        """Load without its training side. Raises InvalidFile where Keras cannot."""
        with tempfile.TemporaryDirectory(prefix="aweigh-keras-") as folder:
            file = Path(folder) / ("model.h5" if recognised.format == "keras-h5" else "model.keras")
            if path.is_dir():
                _zipped(path, file)
            else:
                shutil.copyfile(path, file)  # Keras goes by the name, which may be any
            try:
                return keras.saving.load_model(file, compile=False, safe_mode=not trust)
            except Exception as error:  # Keras raises anything on a file it cannot read
                raise InvalidFile(
                    f"{path.name}: Keras {keras.__version__} cannot load it: {type(error).__name__}: {str(error).strip()[:_SAID]}",
                    hint="save it as .keras with a newer Keras, or call model.export('FOLDER') where it was trained and pack the SavedModel",
                ) from error

    def network(self, job: Job) -> Network:
        """What the model takes and gives, and the ways to write it down."""
        if keras.backend.backend() != "tensorflow":
            raise Unsupported(
                f"Keras runs on {keras.backend.backend()} here; models are converted from TensorFlow",
                hint="set KERAS_BACKEND=tensorflow before Keras is imported, or pack the saved .keras file",
            )
        return _network(job.model)

    def pack(self, job: Job) -> Packed:
        return pack_network(job, self.network(job))


def _zipped(folder: Path, file: Path) -> None:
    """A folder of configuration and weights as the archive that Keras reads."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(folder / CONFIG, CONFIG)
        archive.write(folder / WEIGHTS, WEIGHTS)
        if (folder / METADATA).is_file():
            archive.write(folder / METADATA, METADATA)
        else:
            archive.writestr(METADATA, f'{{"keras_version": "{keras.__version__}"}}')
        for each in sorted((folder / "assets").rglob("*")):
            archive.write(each, each.relative_to(folder).as_posix())


def _network(model: Any) -> Network:
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise Unsupported(
            "this Keras model does not say what it takes: it is subclassed, or was never called on data",
            hint="call model.export('FOLDER') with its input signature and pack that SavedModel",
        )
    signature = _signature(model)
    function = tf.function(lambda *flat: flat_answer(model, flat), autograph=False)
    specs = [tf.TensorSpec(each.shape, each.dtype, name=spec.name) for each, spec in zip(model.inputs, signature.inputs, strict=True)]

    def ask(rows: Mapping[str, Tensor]) -> list[Tensor]:
        given = [as_tensorflow(rows[spec.name], spec) for spec in signature.inputs]
        return [from_tensorflow(answer) for answer in flat_answer(model, given)]

    def to_onnx(folder: Path) -> dict[str, Path]:
        file = folder / "model.onnx"
        from_function(function, specs, signature, file)
        return {ENTRY: file}

    def to_savedmodel(folder: Path) -> dict[str, Path]:
        return _exported(model, function, specs, signature, folder)

    return Network(
        framework="keras",
        signature=signature,
        ask=ask,
        ways=(
            *onnx_ways(to_onnx, layer_landmarks(model, signature)),
            Way(name="a SavedModel run by TensorFlow", write=to_savedmodel, variant=tensorflow_variant(DEFAULT), also="tensorflow"),
        ),
        source_class=f"{type(model).__module__}.{type(model).__qualname__}",
        versions=installed(LIBRARIES),
    )


def tensorflow_variant(signature: str) -> Variant:
    """What ways to a SavedModel fill in."""
    return Variant(
        name="tensorflow",
        runtime="tensorflow",
        precision="native",
        options={"signature": signature},
        environment=requirements(("tensorflow-cpu", "tensorflow", "numpy")),
    )


def _exported(model: Any, function: Any, specs: list[Any], signature: Signature, folder: Path) -> dict[str, Path]:
    """Write what a function of flat tensors answers as a SavedModel whose names are the signature's, with the model's variables and tables; its files by package path."""
    names = [spec.name for spec in signature.outputs]
    place = folder / "savedmodel"
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(DEFAULT, lambda *flat: dict(zip(names, function(*flat), strict=True)), input_signature=specs)
    archive.write_out(str(place), verbose=False)
    return savedmodel_files(place)


def savedmodel_files(place: Path) -> dict[str, Path]:
    """The files of a SavedModel by package path, the graph first; without what no loader reads."""
    found = {
        f"variants/tensorflow/{each.relative_to(place).as_posix()}": each
        for each in sorted(place.rglob("*"))
        if each.is_file() and each.relative_to(place).parts[0] in {"variables", "assets"}
    }
    return {"variants/tensorflow/saved_model.pb": place / "saved_model.pb", **found}


def _signature(model: Any) -> Signature:
    batched = all(each.shape and each.shape[0] is None for each in model.inputs)
    names = [each.name for each in model.inputs]
    inputs = tuple(_spec(each, name, batched=batched, single=len(names) == 1) for each, name in zip(model.inputs, names, strict=True))
    outs = list(getattr(model, "output_names", None) or ())
    if len(outs) != len(model.outputs) or len(set(outs)) != len(outs) or set(outs) & set(names):
        outs = [f"output_{at}" for at in range(len(model.outputs))] if len(model.outputs) > 1 else ["output"]
    outputs = tuple(_spec(each, name, batched=batched, single=False) for each, name in zip(model.outputs, outs, strict=True))
    return Signature(inputs=inputs, outputs=outputs)


def _spec(tensor: Any, name: str, *, batched: bool, single: bool) -> TensorSpec:
    axes: list[Axis] = [
        (f"axis{at}" if single else f"{name}_axis{at}") if size is None else int(size) for at, size in enumerate(tensor.shape)
    ]
    if batched and axes:
        axes[0] = BATCH
    return TensorSpec(name=name, datatype=datatype_of_tensorflow(tf.as_dtype(tensor.dtype), name), shape=tuple(axes))
