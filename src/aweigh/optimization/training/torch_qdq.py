"""How torch's exporter writes what torchao left in a program: as QuantizeLinear and DequantizeLinear. Needs torch, onnxscript."""

from typing import Any, Final

import torch
from onnx import TensorProto, helper
from onnxscript import opset18 as op

_INT8: Final = TensorProto.INT8


def table() -> dict[Any, Any]:
    """How the exporter writes what torchao left in a program. torchao must have been imported: it brings these operators."""
    known = torch.ops.quantized_decomposed
    return {
        known.quantize_per_tensor.default: _quantize,
        known.dequantize_per_tensor.default: _dequantize,
        known.dequantize_per_channel.default: _dequantize_channels,
    }


def _zero(point: int, lowest: int) -> Any:
    return op.Constant(value=helper.make_tensor("zero", _INT8 if lowest < 0 else TensorProto.UINT8, [], [point]))


def _quantize(input, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int):  # type: ignore[no-untyped-def]  # noqa: A002, ARG001  # the exporter reads it
    return op.QuantizeLinear(input, op.Constant(value_float=scale), _zero(zero_point, quant_min))


def _dequantize(input, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int, out_dtype: int = -1):  # type: ignore[no-untyped-def]  # noqa: A002, ARG001
    return op.DequantizeLinear(input, op.Constant(value_float=scale), _zero(zero_point, quant_min))


def _dequantize_channels(input, scales, zero_points, axis: int, quant_min: int, quant_max: int, dtype: int, out_dtype: int = -1):  # type: ignore[no-untyped-def]  # noqa: A002, ARG001
    return op.DequantizeLinear(input, op.Cast(scales, to=TensorProto.FLOAT), op.Cast(zero_points, to=_INT8), axis=axis)
