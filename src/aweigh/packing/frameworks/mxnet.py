"""Apache MXNet: a symbol and its parameters become ONNX that answers as MXNet does, or are refused.

Found through `core/plugins.py`. MXNet needs a numpy that aweigh cannot live with, so that it is asked and exports in a child in an environment of its own; judging
the files, the golden set and the proof are done here.
"""

import contextlib
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from aweigh.core.errors import InvalidFile, InvalidInput, MissingLibrary
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.core.versions import installed, requirements
from aweigh.isolate import Worker
from aweigh.packing.frameworks.mxnet_files import Symbol, beside, read_parameters, read_symbol
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.frameworks.sampled import as_batch, shown_by_sample
from aweigh.packing.job import Job, Packed
from aweigh.packing.onnx_checks import check_model, full_check
from aweigh.packing.recognise import Recognised

_ENTRY: Final = "variants/onnx/model.onnx"
_HOME: Final = "mxnet"
_SIDE: Final = "aweigh.packing.frameworks.mxnet_side:open_network"
_KINDS: Final = {
    "0": Datatype.FP32, "1": Datatype.FP64, "2": Datatype.FP16, "3": Datatype.UINT8, "4": Datatype.INT32, "5": Datatype.INT8, "6": Datatype.INT64,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MxnetModel:
    """Judged files."""

    symbol_file: Path
    parameter_file: Path
    symbol: Symbol


class MxnetFramework:
    """Packs symbols with their parameters."""

    name = "mxnet"

    def accepts(self, model: object) -> bool:
        return False  # a live one would need its library in this process, where it cannot be

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> MxnetModel:  # neither file holds code to trust
        symbol_file, parameter_file = beside(path)
        parameters = read_parameters(parameter_file)
        return MxnetModel(symbol_file=symbol_file, parameter_file=parameter_file, symbol=read_symbol(symbol_file, parameters))

    def pack(self, job: Job) -> Packed:
        model: MxnetModel = job.model
        home = job.homes.get(_HOME)
        if home is None:
            raise MissingLibrary(
                "MXNet needs an environment of its own, and there is none", hint="pack it with `aweigh pack`, without --no-isolate"
            )
        inputs = _inputs(job, model.symbol)
        opening = {
            "symbol": str(model.symbol_file),
            "parameters": str(model.parameter_file),
            "labels": list(model.symbol.labels),
        }
        job.progress("starting MXNet in its own environment")
        with contextlib.closing(Worker(_SIDE, opening, caps=job.caps, home=home, subject="the MXNet model")) as worker:
            packed = pack_network(job, _network(model, inputs, worker))
        both = (model.symbol_file, model.parameter_file)
        return dataclasses.replace(packed, beside=tuple(file for file in both if file != job.source))


def _network(model: MxnetModel, inputs: tuple[TensorSpec, ...], worker: Worker) -> Network:
    rows = {spec.name: _zeros(spec) for spec in inputs}
    said, answers = worker.request({}, rows)
    names = [_plain_name(name) for name in said["outputs"]]
    outputs = tuple(
        TensorSpec(name=name, datatype=datatype_of(tensor), shape=()) for name, tensor in zip(names, answers.values(), strict=True)
    )
    ranks = [tensor.ndim for tensor in answers.values()]
    signature = Signature(inputs=inputs, outputs=outputs)
    variant = Variant(
        name="onnx", runtime="onnxruntime", precision=_precision(signature), files=(), environment=requirements(("onnxruntime", "numpy"))
    )

    def ask(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        for name, tensor in tensors.items():
            if (
                tensor.dtype.kind == "f" and not np.isfinite(tensor).all()
            ):  # its maxima, ReLU and softmax answer as though there were a number
                raise InvalidInput(f"input '{name}' holds NaN or an infinity, for which MXNet invents a number")
        header, found = worker.request({}, tensors)
        return [found[name] for name in header["outputs"]]

    def write(folder: Path) -> Mapping[str, Path]:
        return {_ENTRY: _export(model, signature, worker, folder, ranks)}

    return Network(
        framework="mxnet",
        signature=signature,
        ask=ask,
        ways=[Way(name="ONNX by MXNet's exporter (opset 13)", write=write, variant=variant)],
        source_class=f"MXNet symbol with {model.parameter_file.name}",
        notes=("MXNet answers NaN and infinities as though they were numbers: such inputs are refused",),
        versions={"mxnet": said["version"], **installed(("onnx", "onnxruntime", "numpy"))},
    )


def _inputs(job: Job, symbol: Symbol) -> tuple[TensorSpec, ...]:
    """As the sample shows them, else as the symbol says."""
    kinds = {name: _KINDS.get(node.said.get("__dtype__", ""), Datatype.FP32) for name, node in symbol.inputs.items()}
    if job.sample is not None:
        return tuple(as_batch(shown, lambda one: kinds[one.name]) for shown in shown_by_sample(job, list(symbol.inputs)))
    found = []
    for name, node in symbol.inputs.items():
        sizes = [int(size) for size in re.findall(r"-?\d+", node.said.get("__shape__", ""))]
        if not sizes or any(size <= 0 for size in sizes[1:]):
            raise InvalidInput(
                f"the symbol does not say which shape its input '{name}' has",
                hint="give --sample: an .npz with rows for " + ", ".join(symbol.inputs),
            )
        found.append(TensorSpec(name=name, datatype=kinds[name], shape=(BATCH, *sizes[1:])))
    return tuple(found)


def _zeros(spec: TensorSpec) -> Tensor:
    return np.zeros([1 if isinstance(axis, str) else axis for axis in spec.shape], spec.datatype.dtype)


def _plain_name(name: str) -> str:
    return name.removesuffix("_output") or name


def _precision(signature: Signature) -> Any:
    floats = [spec.datatype for spec in (*signature.inputs, *signature.outputs) if spec.datatype.is_float]
    return floats[0].value.lower() if floats else "native"


def _export(model: MxnetModel, signature: Signature, worker: Worker, folder: Path, ranks: Sequence[int]) -> Path:
    """Have MXNet write ONNX, then mend what it leaves: weights listed as inputs, outputs of sizes that are none. Raises InvalidFile."""
    symbol, raw, entry = folder / "symbol.json", folder / "exported.onnx", folder / "model.onnx"
    symbol.write_bytes(model.symbol.inference)
    header = {
        "export": str(raw),
        "symbol": str(symbol),
        "shapes": [[2 if axis == BATCH else axis for axis in spec.shape] for spec in signature.inputs],
        "axes": [list(spec.shape) for spec in signature.inputs],
        "dtypes": [spec.datatype.dtype.str for spec in signature.inputs],
    }
    worker.request(header, {})
    proto = onnx.load(str(raw), load_external_data=False)
    raw.unlink()
    check_model(proto, None)
    _mended(proto, signature, ranks)
    full_check(proto, None)
    entry.write_bytes(proto.SerializeToString(deterministic=True))
    return entry


def _mended(proto: Any, signature: Signature, ranks: Sequence[int]) -> None:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]  # else ONNX Runtime holds them for changeable
    wanted = {spec.name for spec in signature.inputs}
    if {value.name for value in inputs} != wanted or len(proto.graph.output) != len(signature.outputs):
        raise InvalidFile("MXNet's exporter left inputs or outputs out", hint="the model cannot be converted")
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    for value, spec, rank in zip(proto.graph.output, signature.outputs, ranks, strict=True):
        del value.type.tensor_type.shape.dim[:]
        for _ in range(rank):
            value.type.tensor_type.shape.dim.add()
        if value.name != spec.name:
            proto.graph.node.append(onnx.helper.make_node("Identity", [value.name], [spec.name]))
            value.name = spec.name
