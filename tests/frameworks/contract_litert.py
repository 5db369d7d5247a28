"""Samples for the contract of the runtime `litert`: models written by hand with the library's own schema. See test_contract.py."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from aweigh.core.package import Variant
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.testing import RuntimeSample

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
SCALE, ZERO = 0.25, 3
TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32, "int8": schema.TensorType.INT8}
DATATYPES = {"float32": Datatype.FP32, "int32": Datatype.INT32, "int8": Datatype.INT8}


def samples(folder: Path) -> list[RuntimeSample]:
    """y = x W and which column of it is greatest; and eight-bit numbers that are told as what they mean."""
    x = np.array([[0.1, -0.2, 0.3, 0.4], [0.5, -0.6, 0.7, -0.8], [0.0, 1.0, 0.0, 0.0]], dtype=np.float32)
    y = x @ WEIGHTS.T
    model = _Model()
    given, weights, axis = (
        model.tensor("x", x),
        model.tensor("w", WEIGHTS, kept=True),
        model.tensor("a", np.array([1], np.int32), kept=True),
    )
    product, greatest = model.tensor("y", y), model.tensor("z", y.argmax(axis=1).astype(np.int32))
    model.operate(
        schema.BuiltinOperator.FULLY_CONNECTED,
        [given, weights, -1],
        product,
        schema.BuiltinOptions.FullyConnectedOptions,
        schema.FullyConnectedOptionsT(),
    )
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    model.operate(schema.BuiltinOperator.ARG_MAX, [product, axis], greatest, schema.BuiltinOptions.ArgMaxOptions, options)
    model.save(folder / "columns.tflite", [given], [product, greatest])
    numbers = np.array([[-128, -1, 0, 3], [4, 5, 100, 127]], dtype=np.int8)
    told = (numbers.astype(np.float32) - ZERO) * SCALE
    eight = _Model()
    quantised, plain = eight.tensor("q", numbers, scale=SCALE, zero=ZERO), eight.tensor("v", told)
    eight.operate(
        schema.BuiltinOperator.DEQUANTIZE, [quantised], plain, schema.BuiltinOptions.DequantizeOptions, schema.DequantizeOptionsT()
    )
    eight.save(folder / "eight.tflite", [quantised], [plain])
    return [
        _sample(folder, "columns.tflite", {"x": x}, {"y": y, "z": y.argmax(axis=1).astype(np.int32)}),
        _sample(folder, "eight.tflite", {"q": numbers}, {"v": told}),
    ]


def _sample(folder: Path, file: str, inputs: dict[str, Tensor], expected: dict[str, Tensor]) -> RuntimeSample:
    def specs(tensors: dict[str, Tensor]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name=name, datatype=DATATYPES[tensor.dtype.name], shape=("batch", *tensor.shape[1:]))
            for name, tensor in tensors.items()
        )

    return RuntimeSample(
        variant=Variant(name="litert", runtime="litert", precision="fp32", files=(file,)),
        signature=Signature(inputs=specs(inputs), outputs=specs(expected)),
        folder=folder,
        inputs=inputs,
        expected=list(expected.values()),
    )


class _Model:
    """A file of one graph, whose tensors may have any number of rows."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph.tensors, self.graph.operators = [], []

    def tensor(self, name: str, like: Tensor, *, kept: bool = False, scale: float = 0.0, zero: int = 0) -> int:
        made = schema.TensorT()
        made.name, made.type, made.shape = name, TYPES[like.dtype.name], list(like.shape) if kept else [1, *like.shape[1:]]
        made.buffer = 0
        if kept:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(like.tobytes(), dtype=np.uint8)
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        else:
            made.shapeSignature = [-1, *like.shape[1:]]
        if scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operate(self, code: int, inputs: list[int], output: int, kind: int, options: Any) -> None:
        known = schema.OperatorCodeT()
        known.builtinCode, known.deprecatedBuiltinCode, known.version = code, code, 2 if code == schema.BuiltinOperator.DEQUANTIZE else 1
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self.model.operatorCodes), inputs, [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        self.model.operatorCodes.append(known)
        self.graph.operators.append(made)

    def save(self, file: Path, inputs: list[int], outputs: list[int]) -> None:
        self.graph.inputs, self.graph.outputs, self.model.subgraphs = inputs, outputs, [self.graph]
        builder = schema.flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        file.write_bytes(bytes(builder.Output()))
