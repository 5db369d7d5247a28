"""JAX and Flax: a function with its parameters, live or from a file, becomes ONNX that answers as it does, else a program that JAX runs; a program of `jax.export` runs
as it is.

Found through `core/plugins.py`.
"""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jax
import jax.export
import jax.numpy as jnp
import jax2onnx
import numpy as np

from aweigh.core.errors import AweighError, InvalidInput, ProofFailed, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.core.versions import installed, requirements
from aweigh.packing.frameworks.jax_function import Answering, answering, is_model
from aweigh.packing.frameworks.jax_parameters import Parameters, read_parameters, with_parameters
from aweigh.packing.frameworks.network import Network, Way, pack_network
from aweigh.packing.frameworks.sampled import Shown, shown_by_sample
from aweigh.packing.jax_parameters import FORMAT as PARAMETERS
from aweigh.packing.job import Job, Packed
from aweigh.packing.onnx_checks import check_model, full_check
from aweigh.packing.recognise import Recognised
from aweigh.packing.refused import Asker
from aweigh.runtimes.jax import JaxSession, as_tensor, judged, names_at, names_of

_ONNX: Final = "variants/onnx/model.onnx"
_PROGRAM: Final = "variants/jax/model.jax"
_OPSET: Final = 23
_USUAL: Final = "XLA answers NaN and indices out of range as though they were numbers: proven on numbers as the sample has them, NaN and infinities are refused"
_DATATYPES: Final = {
    "bool": Datatype.BOOL, "uint8": Datatype.UINT8, "uint16": Datatype.UINT16, "uint32": Datatype.UINT32, "uint64": Datatype.UINT64,
    "int8": Datatype.INT8, "int16": Datatype.INT16, "int32": Datatype.INT32, "int64": Datatype.INT64, "float16": Datatype.FP16,
    "bfloat16": Datatype.BF16, "float32": Datatype.FP32, "float64": Datatype.FP64,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A judged program of `jax.export`, and the file that it is."""

    path: Path
    exported: Any


class JaxFramework:
    """Packs functions with parameters, Flax modules and exported programs."""

    name = "jax"

    def accepts(self, model: object) -> bool:
        return isinstance(model, jax.export.Exported) or is_model(model)

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Program | Parameters:  # both are judged, trusted or not
        if recognised.format == PARAMETERS:
            return read_parameters(path)
        return Program(path=path, exported=judged(path))

    def pack(self, job: Job) -> Packed:
        model = job.model
        if isinstance(model, jax.export.Exported):
            path = job.work / "given.jax"
            path.write_bytes(model.serialize())
            model = Program(path=path, exported=judged(path))
        if isinstance(model, Program):
            return pack_network(job, _of_program(model))
        if isinstance(model, Parameters):
            return _pack_function(job, with_parameters(model, job.factory))
        return _pack_function(job, answering(model))


def _of_program(program: Program) -> Network:
    """A program answers as it is: nothing converts it."""
    signature = described(program.exported)
    session = JaxSession(program.exported, signature)

    def write(folder: Path) -> Mapping[str, Path]:
        return {_PROGRAM: Path(shutil.copyfile(program.path, folder / "model.jax"))}

    return Network(
        framework="jax",
        signature=signature,
        ask=session.run,
        ways=[Way(name="the exported program itself", write=write, variant=_own())],
        source_class=f"jax.export of {program.exported.fun_name}",
        versions=_versions(),
    )


def _pack_function(job: Job, model: Answering) -> Packed:
    """As ONNX; else as ONNX for numbers as the sample has them, since XLA answers NaN and indices out of range with something; else as a program that JAX runs."""
    if job.sample is None:
        raise InvalidInput("a JAX function does not say what it takes", hint="give a sample: an array, or a dict of one array per input")
    shown = shown_by_sample(job, model.names)
    network = _of_function(shown, model)
    onnx, program = network.ways
    said = list(network.notes)
    usual = dataclasses.replace(network, ask=_of_usual_numbers(network.ask, shown))
    for attempt, (asked, way) in enumerate(((network, onnx), (usual, onnx), (network, program))):
        work = job.work / f"attempt-{attempt}"
        work.mkdir()
        notes = (*said, _USUAL) if asked is usual else tuple(said)
        try:
            return pack_network(dataclasses.replace(job, work=work), dataclasses.replace(asked, ways=[way], notes=notes))
        except ProofFailed as error:
            said.append(f"{way.name}: {error.message.partition(f'{way.name}: ')[2]}")
    raise ProofFailed(f"no form of the model answers as it does itself: {'; '.join(said)}", hint="the function may answer by chance")


def _of_usual_numbers(ask: Asker, shown: Sequence[Shown]) -> Asker:
    """Refuses what the sample has not: NaN, infinities, whole numbers beyond its least and greatest."""

    def usual(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        for one in shown:
            tensor = tensors[one.name]
            beyond = one.whole is not None and tensor.size and (tensor.min() < one.whole[0] or tensor.max() > one.whole[1])
            if beyond or (tensor.dtype.kind == "f" and not np.isfinite(tensor).all()):
                raise InvalidInput(f"input '{one.name}' holds what the sample does not")
        return ask(tensors)

    return usual


def _of_function(shown: Sequence[Shown], model: Answering) -> Network:
    compiled = jax.jit(model.function)
    inputs = tuple(TensorSpec(name=one.name, datatype=_taken(one), shape=(BATCH, *one.sizes)) for one in shown)
    outputs = _outputs(model, inputs)
    signature = Signature(inputs=inputs, outputs=outputs)

    def ask(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        try:
            found = jax.tree_util.tree_leaves(compiled(*(jnp.asarray(tensors[spec.name], _dtype(spec)) for spec in inputs)))
        except (ValueError, TypeError, RuntimeError) as error:
            raise InvalidInput(f"the function refuses these inputs: {str(error).strip().partition(chr(10))[0][:300]}") from error
        return [as_tensor(each, spec.datatype) for each, spec in zip(found, outputs, strict=True)]

    floats = [spec.datatype for spec in (*inputs, *outputs) if spec.datatype.is_float]
    onnx = Variant(
        name="onnx",
        runtime="onnxruntime",
        precision=floats[0].value.lower() if floats else "native",
        files=(),
        environment=requirements(("onnxruntime", "numpy")),
    )
    return Network(
        framework="jax",
        signature=signature,
        ask=ask,
        ways=[
            Way(name=f"ONNX by jax2onnx (opset {_OPSET})", write=lambda folder: {_ONNX: _to_onnx(model, signature, folder)}, variant=onnx),
            Way(
                name="a program of jax.export",
                write=lambda folder: {_PROGRAM: _to_program(model, signature, folder)},
                variant=_own(),
            ),
        ],
        source_class=model.source_class,
        versions=_versions(),
        notes=model.notes,
    )


def _taken(shown: Shown) -> Datatype:
    """What JAX makes of a sample's datatype: half the width, unless it was told to keep 64 bits."""
    if shown.datatype is Datatype.BYTES:
        raise InvalidInput(f"the sample for '{shown.name}' holds texts, which JAX does not take", hint="give numbers")
    return _DATATYPES[str(jax.dtypes.canonicalize_dtype(shown.datatype.dtype))]


def _dtype(spec: TensorSpec) -> Any:
    return jnp.bfloat16 if spec.datatype is Datatype.BF16 else spec.datatype.dtype


def _outputs(model: Answering, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Names and datatypes of what the function gives, found without running it. Shapes are learned from answers."""
    shapes = [jax.ShapeDtypeStruct([2 if axis == BATCH else axis for axis in spec.shape], _dtype(spec)) for spec in inputs]
    try:
        if model.check is not None:
            model.check(shapes)
        given = jax.eval_shape(model.function, *shapes)
    except AweighError:
        raise
    except Exception as error:  # the function is the person's: whatever it raises is its answer
        raise InvalidInput(
            f"the function fails on inputs as the sample has them: {type(error).__name__}: {str(error)[:300]}",
            hint="give a sample as the function takes it, the batch first",
        ) from error
    found = jax.tree_util.tree_flatten_with_path(given)[0]
    if not found:
        raise Unsupported("the function gives nothing", hint="return an array, or a dict of arrays")
    names = names_at([path for path, _ in found], "output")
    return tuple(TensorSpec(name=name, datatype=_datatype(leaf.dtype), shape=()) for name, (_, leaf) in zip(names, found, strict=True))


def _datatype(dtype: Any) -> Datatype:
    found = _DATATYPES.get(str(dtype))
    if found is None:
        raise Unsupported(
            f"the model takes or gives {dtype}, which cannot be sent", hint="give real numbers: split complex ones into two arrays"
        )
    return found


def _to_onnx(model: Answering, signature: Signature, folder: Path) -> Path:
    wide = any(spec.datatype is Datatype.FP64 for spec in signature.inputs)
    proto = jax2onnx.to_onnx(
        model.function,
        [jax.ShapeDtypeStruct(["B" if axis == BATCH else axis for axis in spec.shape], _dtype(spec)) for spec in signature.inputs],
        opset=_OPSET,
        enable_double_precision=wide,
        input_names=[spec.name for spec in signature.inputs],
        output_names=[spec.name for spec in signature.outputs],
    )
    check_model(proto, None)
    full_check(proto, None)
    file = folder / "model.onnx"
    file.write_bytes(proto.SerializeToString(deterministic=True))
    return file


def _to_program(model: Answering, signature: Signature, folder: Path) -> Path:
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = [jax.ShapeDtypeStruct([batch if axis == BATCH else axis for axis in spec.shape], _dtype(spec)) for spec in signature.inputs]
    file = folder / "model.jax"
    file.write_bytes(jax.export.export(jax.jit(model.function), platforms=["cpu"])(*shapes).serialize())
    judged(file)
    return file


def described(program: Any) -> Signature:
    """What an exported program takes and gives, its symbolic axes by their names; the one in front of all inputs is the batch."""
    takes, gives = names_of(program)
    inputs, given_out = _specs(takes, program.in_avals), _specs(gives, program.out_avals)
    first = {spec.shape[0] if spec.shape else None for spec in inputs}
    batch = first.pop() if len(first) == 1 else None
    if not isinstance(batch, str):
        return Signature(inputs=inputs, outputs=given_out)
    return Signature(inputs=_batched(inputs, batch), outputs=_batched(given_out, batch))


def _specs(names: Sequence[str], avals: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=name,
            datatype=_datatype(aval.dtype),
            shape=tuple(int(size) if isinstance(size, int | np.integer) else str(size) for size in aval.shape),
        )
        for name, aval in zip(names, avals, strict=True)
    )


def _batched(specs: Sequence[TensorSpec], batch: str) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=spec.name, datatype=spec.datatype, shape=tuple(BATCH if axis == batch else axis for axis in spec.shape))
        for spec in specs
    )


def _own() -> Variant:
    return Variant(name="jax", runtime="jax", precision="native", files=(), environment=requirements(("jax", "jaxlib", "numpy")))


def _versions() -> dict[str, str]:
    return installed(("jax", "jaxlib", "flax", "jax2onnx", "onnx", "onnxruntime", "numpy"))
