"""Products in floats of 8 bits (E4M3): quantisation around them, with scales from calibration rows, in the form that TensorRT makes kernels of.

ONNX Runtime's processor kernels read the form too, and compute in float32 between: slow, but the same answers.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library is imported

from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from aweigh.core.errors import Unsupported
from aweigh.core.tensors import Tensor
from aweigh.optimization.graphs.asking import feeds, read_rows
from aweigh.optimization.graphs.files import NAME, read_graph
from aweigh.optimization.graphs.products import weighted_nodes
from aweigh.optimization.graphs.shapes import prepared
from aweigh.optimization.passing import PassJob

_OPSET: Final = 19
"""The first that has floats of 8 bits."""
_PRODUCTS: Final = ("Gemm", "MatMul")
_ROWS: Final = 128


def lowered(job: PassJob) -> str:
    """Write the graph; gives the file. Raises Unsupported where it has no products, or cannot be lifted to an opset that knows such floats."""
    rows = read_rows(job)
    model = read_graph(job)
    if not weighted_nodes(model.graph, _PRODUCTS):
        raise Unsupported("the graph has no product of a matrix with weights, which is what is computed in floats of 8 bits")
    work = Path(job.folder) / "work"
    work.mkdir(parents=True, exist_ok=True)
    source = prepared(_lifted(model), work)
    out = Path(job.folder) / NAME
    quantize_static(
        source,
        out,
        _Feeds(_alike(feeds(job, source, rows.some(_ROWS)))),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_PRODUCTS),
        activation_type=QuantType.QFLOAT8E4M3FN,
        weight_type=QuantType.QFLOAT8E4M3FN,
        calibrate_method=CalibrationMethod.Distribution,
        extra_options={"MatMulConstBOnly": True},
    )
    return str(out)


def _alike(parts: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Those of as many rows as the first: the library puts what it collects into one array."""
    count = {name: len(tensor) for name, tensor in parts[0].items()} if parts else {}
    return [part for part in parts if {name: len(tensor) for name, tensor in part.items()} == count]


def _lifted(model: Any) -> Any:
    opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
    if opset >= _OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except (RuntimeError, ValueError) as error:
        raise Unsupported(f"opset {opset} cannot be lifted to {_OPSET}, the first with floats of 8 bits: {str(error)[:300]}") from error


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # untyped library
    """Inputs, one call after the other."""

    def __init__(self, parts: list[dict[str, Tensor]]) -> None:
        self._parts: Iterator[dict[str, Tensor]] = iter(parts)

    def get_next(self) -> dict[str, Tensor] | None:
        return next(self._parts, None)
