"""The ways by which the Keras, SavedModel and TFLite frameworks come to ONNX; what is written is written by `runtimes/tensorflow_onnx.py`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aweigh.core.package import Variant
from aweigh.core.versions import requirements
from aweigh.packing.cause import Inside
from aweigh.packing.frameworks.network import Way

ENTRY: Final = "variants/onnx/model.onnx"


def onnx_variant() -> Variant:
    """What the ways to ONNX fill in."""
    return Variant(name="onnx", runtime="onnxruntime", precision="fp32", environment=requirements(("onnxruntime", "numpy")))


def onnx_ways(write: Callable[[Path], Mapping[str, Path]], inside: Inside | None = None) -> tuple[Way, Way]:
    """ONNX as it is; and with rows that hold a NaN refused: max pooling makes a number of it in TensorFlow alone, a recurrent layer in ONNX Runtime alone."""
    made: dict[str, Path] = {}

    def once(folder: Path) -> Mapping[str, Path]:
        made.update(made or write(folder))
        return made

    return (
        Way(name="ONNX by tf2onnx", write=once, variant=onnx_variant(), inside=inside),
        Way(name="ONNX by tf2onnx, rows with a NaN refused", write=once, variant=onnx_variant(), without_missing=True, inside=inside),
    )
