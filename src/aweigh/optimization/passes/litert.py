"""LiteRT (TensorFlow Lite) from a Keras model or a SavedModel, by TensorFlow's own converter: as it is, with weights of 8 or 16 bits, and INT8 throughout.

The edges stay float32: what is quantised in INT8 throughout begins and ends with a conversion inside the file, so the package's signature holds.
Source: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from aweigh.core.errors import Unsupported
from aweigh.core.versions import requirements
from aweigh.optimization.calibration import input_rows
from aweigh.optimization.passing import Declaration, Kind, Made, Need, PassJob, Way
from aweigh.optimization.sources import check_source, written

_FORMATS: Final = frozenset({"keras", "keras-h5", "savedmodel"})
_TAKES: Final = ("onnxruntime", "tensorflow")
_ROWS: Final = 300
"""Rows that the ranges of activations are found by: more change nothing that could be measured."""
_SAID: Final = 300


def _declared(name: str, *, precision: bool = True, needs: frozenset[Need] = frozenset()) -> Declaration:
    kind = Kind.PRECISION if precision else Kind.REWRITE
    return Declaration(name=name, kind=kind, takes=_TAKES, needs=needs | {Need.SOURCE}, composes=False, departs=precision)


class Litert:
    """In float32."""

    declares: ClassVar[Declaration] = _declared("litert", precision=False)
    precision: ClassVar[str] = "fp32"

    def ways(self, job: PassJob) -> Sequence[Way]:
        check_source(job, _FORMATS, "a Keras model or a SavedModel: the .tflite file would be made of another one's conversion")
        texts = [spec.name for spec in (*job.signature.inputs, *job.signature.outputs) if spec.datatype.value == "BYTES"]
        if texts:
            raise Unsupported(f"'{texts[0]}' is text, which LiteRT's converter does not take")
        return self._ways()

    def _ways(self) -> list[Way]:
        return [Way(name="")]

    def make(self, job: PassJob) -> Made:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        import tensorflow as tf

        found = written(job, "tensorflow")
        key = str(found.options["signature"])
        folder = next(iter(found.files.values())).parent
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[key])
        self._tell(converter, tf, job, key)
        try:
            data = converter.convert()
        except Exception as error:  # the converter raises anything, with pages of MLIR
            raise Unsupported(f"TensorFlow's converter cannot: {_cause(error)}") from error
        file = Path(job.folder) / "model.tflite"
        file.write_bytes(data)
        return Made(
            runtime="litert",
            precision=self.precision,
            files={file.name: str(file)},
            options={"signature": key},
            environment=requirements(("ai-edge-litert", "numpy")),
            notes=_told(file),
        )

    def _tell(self, converter: Any, tf: Any, job: PassJob, signature: str) -> None:
        """Tell the converter how numbers are to be kept."""


class LitertDynamic(Litert):
    """Weights in INT8, activations in float32, or in INT8 by the range of each call, as the operator has it."""

    declares = _declared("litert-dynamic")
    precision = "int8"

    def _tell(self, converter: Any, tf: Any, job: PassJob, signature: str) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]


class LitertFp16(Litert):
    """Weights in FP16: half the size. On processors they are turned to float32 at load, on phones' GPUs they are not."""

    declares = _declared("litert-fp16")
    precision = "fp16"

    def _tell(self, converter: Any, tf: Any, job: PassJob, signature: str) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]


class LitertInt8(Litert):
    """Weights and activations in INT8, by the ranges of the calibration rows."""

    declares = _declared("litert-int8", needs=frozenset({Need.CALIBRATION}))
    precision = "int8"

    def _ways(self) -> list[Way]:
        return [Way(name="whole", choices={"float_left": False}), Way(name="where-it-can", choices={"float_left": True})]

    def _tell(self, converter: Any, tf: Any, job: PassJob, signature: str) -> None:
        rows = input_rows(job)
        count = min(_ROWS, *(len(tensor) for tensor in rows.values()))
        kinds = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            (signature, {name: tensor[at : at + 1] for name, tensor in rows.items()}) for at in range(count)
        )
        converter.target_spec.supported_ops = [*kinds, tf.lite.OpsSet.TFLITE_BUILTINS] if job.way.choices["float_left"] else kinds


def _cause(error: Exception) -> str:
    """The one line of the converter's pages that says something."""
    said = str(error)
    if "TensorList" in said:
        return "a loop over a list of tensors (a recurrent layer with an open batch), which LiteRT has no operation for"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wanted = [line for line in lines if "error:" in line or "not supported" in line or "neither a custom op" in line]
    return (wanted or lines or [type(error).__name__])[0][:_SAID]


def _told(file: Path) -> tuple[str, ...]:
    """How many of the file's tensors came out in how many bits."""
    from aweigh.runtimes.litert import open_interpreter

    kinds: dict[str, int] = {}
    for detail in open_interpreter(file).get_tensor_details():
        name = str(getattr(detail["dtype"], "__name__", detail["dtype"]))
        kinds[name] = kinds.get(name, 0) + 1
    return (f"tensors by type: {', '.join(f'{count} {name}' for name, count in sorted(kinds.items()))}",)
