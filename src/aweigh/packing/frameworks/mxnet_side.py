"""MXNet's own side: loads symbol and parameters, answers, exports. Runs only in a child in the environment `mxnet`, whose numpy and onnx are older than aweigh's.

Imports of aweigh only what works with those. The files were judged before (`mxnet_files.py`).
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import mxnet
import mxnet.onnx
import numpy as np
import onnx.checker
import onnx.defs

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.tensors import Tensor, Tensors

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]
_OPSET: Final = 13
"""What the exporter's operators are of; it would name the newest that its onnx knows."""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """The two files, and the inputs that only training feeds."""

    symbol: str
    parameters: str
    labels: tuple[str, ...]


def open_network(opening: Opening) -> Handler:
    """Load and return the handler: it answers tensors, or with `export` in its header writes ONNX. Raises InvalidFile."""
    try:
        network = _Network(opening)
    except mxnet.base.MXNetError as error:
        raise InvalidFile(f"MXNet cannot load the model: {_said(error)}", hint="symbol and parameters may not belong together") from error

    def handle(header: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if "export" in header:
            network.export(header)
            return {}, {}
        return {"outputs": network.outputs, "version": mxnet.__version__}, network.answer(tensors)

    return handle


class _Network:
    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._symbol = mxnet.sym.load(opening.symbol)
        self.outputs: list[str] = list(self._symbol.list_outputs())
        self._arguments: dict[str, Any] = {}
        self._states: dict[str, Any] = {}
        for name, array in mxnet.nd.load(opening.parameters).items():
            kind, _, bare = name.partition(":")
            (self._arguments if kind == "arg" else self._states)[bare] = array

    def answer(self, tensors: Tensors) -> dict[str, Tensor]:
        """In inference mode: dropout and batch statistics are off."""
        given = {name: mxnet.nd.array(tensor, dtype=tensor.dtype) for name, tensor in tensors.items()}
        try:
            shapes, _, _ = self._symbol.infer_shape(**{name: array.shape for name, array in given.items()})
            known = dict(zip(self._symbol.list_arguments(), shapes, strict=True))
            labels = {name: mxnet.nd.zeros(known[name]) for name in self._opening.labels}
            bound = {name: (given | labels | self._arguments)[name] for name in known}
            kept = {name: self._states[name] for name in self._symbol.list_auxiliary_states()}
            executor = self._symbol.bind(mxnet.cpu(), bound, aux_states=kept, grad_req="null")
            found = [np.array(output.asnumpy()) for output in executor.forward(is_train=False)]
        except mxnet.base.MXNetError as error:
            raise InvalidInput(f"MXNet refuses these inputs: {_said(error)}") from error
        except KeyError as error:
            raise InvalidFile(f"the parameters lack {error}, which the symbol needs", hint="they belong to another symbol") from error
        return dict(zip(self.outputs, found, strict=True))

    def export(self, header: dict[str, Any]) -> None:
        """Write ONNX of `symbol`, for inputs of these shapes, whose axes are named where they may change."""
        onnx.defs.onnx_opset_version = lambda: _OPSET
        onnx.checker.check_graph = lambda *_, **__: None  # it checks by rules of a newer opset; the whole model is checked by whoever asked
        symbol = mxnet.sym.load(header["symbol"])
        mxnet.onnx.export_model(
            symbol,
            [self._arguments, self._states],
            [tuple(shape) for shape in header["shapes"]],
            [np.dtype(dtype) for dtype in header["dtypes"]],
            header["export"],
            dynamic=True,
            dynamic_input_shapes=[tuple(axes) for axes in header["axes"]],
        )


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "Stack trace" not in line]
    return (lines[-1] if lines else type(error).__name__)[:300]
