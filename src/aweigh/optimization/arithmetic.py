"""How many floating-point operations an operator makes, by its shapes: multiplications and additions counted apart. Called by `profile`."""

import math
from typing import Final

from aweigh.runtimes.onnxruntime_profile import Operator

_PRODUCTS: Final = frozenset({"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulNBits", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"})  # fmt: skip
_CONVOLUTIONS: Final = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""With the position of their weights among the inputs."""
_RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN"})
MADE_OF_PRODUCTS: Final = _PRODUCTS | frozenset(_CONVOLUTIONS) | _RECURRENT | {"ConvTranspose", "Attention", "MultiHeadAttention"}
"""Operators whose time is multiplication, where smaller numbers pay."""


def operations(operator: Operator) -> float:
    """Of one call. One for each element that is given where the kind is none of products; 0 where nothing is given."""
    if not operator.outputs:
        return 0.0
    given, taken = operator.outputs[0], operator.inputs
    try:
        if operator.kind in _PRODUCTS:
            return 2.0 * math.prod(given) * _shared(taken[0], given)
        if operator.kind in _CONVOLUTIONS:
            return 2.0 * math.prod(given) / given[1] * math.prod(taken[_CONVOLUTIONS[operator.kind]])
        if operator.kind == "ConvTranspose":
            return 2.0 * math.prod(taken[0]) / taken[0][1] * math.prod(taken[1])
        if operator.kind in _RECURRENT:
            return 2.0 * taken[0][0] * taken[0][1] * (math.prod(taken[1]) + math.prod(taken[2]))
    except (IndexError, ZeroDivisionError):  # an optional input was left out, or a size is 0
        return 0.0
    return float(math.prod(given))


def _shared(left: tuple[int, ...], given: tuple[int, ...]) -> float:
    """The length of the products' sums, whichever way the left side lies."""
    return math.prod(left[-2:]) / given[-2] if len(left) > 1 and len(given) > 1 else left[-1]
