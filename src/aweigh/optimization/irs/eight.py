"""INT8 by NNCF: which rows calibrate, what is said to the library, and what came of it."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import aweigh.optimization.irs.silence  # noqa: F401  # before nncf

import nncf  # isort: skip

from aweigh.core.errors import Unsupported
from aweigh.core.tensors import Tensor
from aweigh.optimization.graphs.asking import Rows, read_rows
from aweigh.optimization.irs.models import Feeder, compiled, made, read_model
from aweigh.optimization.irs.padding import unpadded
from aweigh.optimization.passing import Made, PassJob

nncf.set_log_level(logging.ERROR)

_PRODUCTS: Final = ("MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData")
_SHAPING: Final = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Convert", "FakeQuantize", "Multiply", "Select"})
_MOST_ROWS: Final = 300
_LEAST_ROWS: Final = 16
_PART: Final = 0.25
"""Of the pass's time, what running the rows may take."""
_DEARER: Final = 8
"""Passes over the rows, each with statistics of every tensor, as measured against plain calls."""


def quantised(job: PassJob) -> Made:
    """Raises Unsupported where nothing of the graph could be quantised."""
    model = read_model(job)
    rows = read_rows(job)
    feeds = calibrating(job, model, rows)
    changed = attempt(lambda: nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds), **said(job, model)))
    return made(changed, job, "int8", options={}, notes=told(changed, len(feeds)))


def said(job: PassJob, model: Any) -> dict[str, Any]:
    """Arguments of the library that both kinds of quantisation take, but for the name of the last."""
    fix = nncf.OverflowFix.ENABLE if job.way.choices.get("half_range") else nncf.OverflowFix.DISABLE
    return {
        "preset": nncf.QuantizationPreset(str(job.way.choices["preset"])),
        "model_type": nncf.ModelType.TRANSFORMER if attends(model) else None,
        "target_device": nncf.TargetDevice.CPU,
        "advanced_parameters": nncf.AdvancedQuantizationParameters(overflow_fix=fix),
    }


def calibrating(job: PassJob, model: Any, rows: Rows) -> list[dict[str, Tensor]]:
    """Rows one at a time, as many as the time allows."""
    feeder = Feeder(model, job.signature)
    whole = rows.some(_MOST_ROWS)
    single = [{name: tensor[at] for name, tensor in whole.inputs.items()} for at in singly(job, whole)]
    feeds = [feeder.feed(unpadded(job.signature, row)) for row in single]
    if not feeds:
        raise Unsupported("there are no calibration rows")
    asked = compiled(model, job.device.threads)
    asked(feeds[0])
    began = monotonic()
    asked(feeds[0])
    fitting = int(job.time_s * _PART / _DEARER / max(monotonic() - began, 1e-6))
    count = min(len(feeds), max(_LEAST_ROWS, fitting))
    return feeds[:: max(1, len(feeds) // count)][:count]


def singly(job: PassJob, rows: Rows) -> list[slice]:
    """Each row by itself; of a model that takes a fixed number of rows, so many together."""
    first = job.signature.inputs[0].shape[0] if job.signature.inputs[0].shape else 1
    step = 1 if job.signature.batched or not isinstance(first, int) else max(1, first)
    return [slice(start, start + step) for start in range(0, len(rows) - step + 1, step)]


def attends(model: Any) -> bool:
    """Whether the graph is a transformer's: a softmax whose answer is multiplied with a matrix."""
    for node in model.get_ops():
        if node.get_type_name() == "ScaledDotProductAttention":
            return True
        if node.get_type_name() == "Softmax" and _multiplied(node, 6):
            return True
    return False


def _multiplied(node: Any, further: int) -> bool:
    for target in (target.get_node() for output in node.outputs() for target in output.get_target_inputs()):
        kind = target.get_type_name()
        if kind == "MatMul" or (kind in _SHAPING and further and _multiplied(target, further - 1)):
            return True
    return False


def counted(model: Any) -> tuple[int, int]:
    """How many products take quantised activations, and how many there are."""
    products = [node for node in model.get_ops() if node.get_type_name() in _PRODUCTS]
    lowered = [node for node in products if _source(node.input_value(0).get_node()).get_type_name() == "FakeQuantize"]
    return len(lowered), len(products)


def _source(node: Any) -> Any:
    """What a product's activation comes from, behind what shapes it and picks of it, and so keeps eight bits."""
    while node.get_type_name() in {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "StridedSlice"}:
        node = node.input_value(0).get_node()
    return node


def told(model: Any, rows: int) -> list[str]:
    """What was done. Raises Unsupported where it was nothing."""
    lowered, products = counted(model)
    if not lowered:
        raise Unsupported("the graph has no product or convolution that NNCF quantises")
    kept = f"; {products - lowered} stayed in float" if lowered < products else ""
    return [f"{lowered} of {products} products and convolutions in INT8{kept}; ranges of {rows} calibration rows"]


def attempt(quantise: Callable[[], Any]) -> Any:
    """What the library gives; Unsupported with its words where it raises."""
    try:
        return quantise()
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise Unsupported(f"NNCF could not quantise the graph: {type(error).__name__}: {' '.join(str(error).split())[:400]}") from error
