"""TensorFlow Lite: the file itself is the variant, run by LiteRT, with an ONNX form beside it where that answers the same. Found through `core/plugins.py`.

A quantised model stays what it is: its inputs and outputs keep their datatypes, and what their numbers mean is told.
"""

import dataclasses
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tf2onnx

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Axis, Signature, TensorSpec
from aweigh.core.tensors import INTEGER_RANGE, Datatype, Tensor, datatype_of
from aweigh.core.versions import installed, requirements
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.frameworks.onnx_sample import MADE_AXIS, MADE_ROWS, made_tensors
from aweigh.packing.frameworks.tensorflow_onnx import ENTRY, onnx_variant
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised
from aweigh.runtimes.litert import Edges, LitertRuntime, edges, open_interpreter
from aweigh.runtimes.tensorflow_onnx import OPSET, write

_FILE: Final = "variants/litert/model.tflite"
_EDGE_TPU: Final = b"edgetpu-custom-op"
_LIBRARIES: Final = ("ai-edge-litert", "tf2onnx", "onnx", "onnxruntime", "numpy")
_SEED: Final = 17


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TfliteModel:
    """A file that LiteRT loads, and what it says of its edges."""

    file: Path
    edges: Edges
    precision: str
    delegate: str


class TfliteFramework:
    """Packs .tflite files."""

    name = "tflite"

    def accepts(self, model: object) -> bool:
        return isinstance(model, TfliteModel)

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> TfliteModel:  # the format holds no code to trust
        delegate = "edgetpu" if _holds(path, _EDGE_TPU) else ""
        interpreter = open_interpreter(path, delegate=delegate)
        return TfliteModel(file=path, edges=edges(interpreter), precision=_precision(interpreter), delegate=delegate)

    def pack(self, job: Job) -> Packed:
        return pack_network(job, _network(job.model))


def _holds(path: Path, word: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(word) >= 0


def _precision(interpreter: Any) -> str:
    """That of the weights."""
    kinds = {np.dtype(each["dtype"]) for each in interpreter.get_tensor_details() if len(each["shape"]) > 1}
    for dtype, name in ((np.int8, "int8"), (np.uint8, "uint8"), (np.int16, "int16"), (np.float16, "fp16")):
        if np.dtype(dtype) in kinds and any(
            len(each["quantization_parameters"]["scales"]) or dtype is np.float16
            for each in interpreter.get_tensor_details()
            if np.dtype(each["dtype"]) == dtype
        ):
            return name
    return "fp32"


def _network(model: TfliteModel) -> Network:
    signature = _signature(model.edges)
    options: dict[str, str | int | float | bool] = {"delegate": model.delegate} if model.delegate else {}
    scales = {name: found for name, each in (model.edges.inputs | model.edges.outputs).items() if (found := _scale(each))}
    options |= {f"quantization:{name}": f"{scale!r} {zero}" for name, (scale, zero) in scales.items()}
    variant = Variant(
        name="litert",
        runtime="litert",
        precision=model.precision,
        files=(_FILE,),
        options=options,
        environment=requirements(("ai-edge-litert", "numpy")),
    )
    session = LitertRuntime().load(variant, signature, lambda _: model.file)

    def to_onnx(folder: Path) -> dict[str, Path]:
        file = folder / "model.onnx"
        proto = tf2onnx.convert.from_tflite(str(model.file), opset=OPSET)[0]
        for values, found in ((proto.graph.input, model.edges.inputs), (proto.graph.output, model.edges.outputs)):
            _reorder(values, [str(each["name"]) for each in found.values()])
        write(proto, signature, file)
        return {ENTRY: file}

    ways = [Way(name="LiteRT itself", write=lambda _: {_FILE: model.file}, variant=variant)]
    ways += [] if model.delegate else [Way(name="ONNX by tf2onnx", write=to_onnx, variant=onnx_variant())]
    return Network(
        framework="tflite",
        signature=signature,
        ask=session.run,
        ways=tuple(ways),
        source_class=f"TensorFlow Lite model, {model.precision}",
        versions=installed(_LIBRARIES),
        notes=tuple(
            f"'{name}' is quantised: its value is {scale:.9g} times (the number - {zero})" for name, (scale, zero) in scales.items()
        ),
        made=lambda: _made(signature),
        keep_all=True,
    )


def _scale(detail: Mapping[str, Any]) -> tuple[float, int] | None:
    """Scale and zero point of a quantised input or output."""
    parameters = detail["quantization_parameters"]
    return (float(parameters["scales"][0]), int(parameters["zero_points"][0])) if len(parameters["scales"]) == 1 else None


def _signature(found: Edges) -> Signature:
    if set(found.inputs) & set(found.outputs):
        clash = sorted(set(found.inputs) & set(found.outputs))[0]
        raise Unsupported(f"an input and an output are both named '{clash}'", hint="convert it with another name for one of them")
    batched = all(_sizes(each)[:1] == [-1] for each in found.inputs.values())
    single = len(found.inputs) == 1
    return Signature(
        inputs=tuple(_spec(name, each, batched=batched, single=single) for name, each in found.inputs.items()),
        outputs=tuple(_spec(name, each, batched=batched, single=False) for name, each in found.outputs.items()),
    )


def _sizes(detail: Mapping[str, Any]) -> list[int]:
    told = detail.get("shape_signature")
    return [int(size) for size in (told if told is not None and len(told) else detail["shape"])]


def _spec(name: str, detail: Mapping[str, Any], *, batched: bool, single: bool) -> TensorSpec:
    axes: list[Axis] = [(f"axis{at}" if single else f"{name}_axis{at}") if size < 0 else size for at, size in enumerate(_sizes(detail))]
    if batched and axes:
        axes[0] = BATCH
    return TensorSpec(name=name, datatype=_datatype(detail), shape=tuple(axes))


def _datatype(detail: Mapping[str, Any]) -> Datatype:
    return datatype_of(np.empty(0, dtype=detail["dtype"]))


def _made(signature: Signature) -> dict[str, Tensor]:
    """Rows from the signature; eight-bit integers over all of their range, since that is what quantised numbers fill."""
    random = np.random.default_rng(_SEED)
    rows = made_tensors(signature)
    for spec in signature.inputs:
        if spec.datatype in {Datatype.INT8, Datatype.UINT8}:
            low, high = INTEGER_RANGE[spec.datatype]
            shape = tuple(axis if isinstance(axis, int) else MADE_ROWS if axis == BATCH else MADE_AXIS for axis in spec.shape)
            rows[spec.name] = random.integers(low, high + 1, size=shape).astype(spec.datatype.dtype)
    return rows


def _reorder(values: Any, names: list[str]) -> None:
    """ONNX inputs or outputs in the order of TensorFlow Lite's names."""
    by_name = {value.name: value for value in values}
    if set(by_name) != set(names):
        raise Unsupported(f"the ONNX graph has {', '.join(by_name)} where the model has {', '.join(names)}")
    copies = [type(by_name[name]).FromString(by_name[name].SerializeToString()) for name in names]
    del values[:]
    values.extend(copies)
