"""What a PyTorch model takes and gives: names from the program itself, sizes from its symbols, or found by asking a module at several sizes. Called by `torch.py`.

An axis is dynamic where the model answers at two further sizes of it; axes of several inputs that must change together get one name.
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
import torch.utils._pytree as pytree

from aweigh.core.errors import AweighError, InvalidInput, Unsupported
from aweigh.core.signature import BATCH, Axis, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.packing.frameworks.onnx_sample import made_tensors, shaped_tensors
from aweigh.packing.job import Job
from aweigh.packing.sample import Sample, read_sample
from aweigh.runtimes.torch_program import Call, ask, flat_outputs, to_numpy

_TRACED_ROWS: Final = 4
_CHANNELS_LAST: Final = (0, 3, 1, 2)
_TYPES: Final = {
    torch.bool: Datatype.BOOL, torch.uint8: Datatype.UINT8, torch.int8: Datatype.INT8, torch.int16: Datatype.INT16, torch.int32: Datatype.INT32,
    torch.int64: Datatype.INT64, torch.float16: Datatype.FP16, torch.float32: Datatype.FP32, torch.float64: Datatype.FP64,
}  # fmt: skip
Sizes = dict[tuple[str, int], str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model and how it is asked: `call` takes one tensor for each of `names`, in that order."""

    model: Any
    kind: str
    """"module", "torchscript" or "pt2"."""
    names: tuple[str, ...]
    call: Call

    def arguments(self, tensors: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.names, tensors, strict=True))


def described(program: Any, names: Sequence[str]) -> Signature:
    """The signature of an exported program; sizes that it leaves open are named. Raises Unsupported for what cannot be sent."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    symbols: dict[str, str] = {}
    first = values[names[0]] if names else None
    if first is None:
        raise Unsupported("the program takes no tensor", hint="a model without inputs always answers the same: there is nothing to serve")
    if first.ndim and not isinstance(first.shape[0], int):
        symbols[str(first.shape[0])] = BATCH
    inputs = tuple(_spec(name, values[name], symbols, single=len(names) == 1) for name in names)
    given = [
        values[spec.arg.name] if hasattr(spec.arg, "name") else None
        for spec in program.graph_signature.output_specs
        if spec.kind.name == "USER_OUTPUT"
    ]
    outputs = flat_outputs(pytree.tree_unflatten(given, program.call_spec.out_spec))
    return Signature(inputs=inputs, outputs=tuple(_spec(name, value, symbols, single=False) for name, value in outputs))


def _spec(name: str, value: Any, symbols: dict[str, str], *, single: bool) -> TensorSpec:
    axes: list[Axis] = []
    for at, size in enumerate(value.shape):
        if isinstance(size, int):
            axes.append(size)
        else:
            axes.append(symbols.setdefault(str(size), f"axis{at}" if single else f"{name}_axis{at}"))
    return TensorSpec(name=name, datatype=_datatype(name, value.dtype), shape=tuple(axes))


def _datatype(name: str, kind: Any) -> Datatype:
    if kind is torch.bfloat16:
        return Datatype.BF16
    if kind not in _TYPES:
        raise Unsupported(f"'{name}' is of the type {kind}, which cannot be sent", hint="cast it inside the model")
    return _TYPES[kind]


def example_rows(program: Any, signature: Signature) -> dict[str, Tensor]:
    """The inputs that the program was exported with, where they are kept; else made up."""
    made = made_tensors(signature)
    if not program.example_inputs:
        return made
    args, kwargs = program.example_inputs
    leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if len(leaves) != len(signature.inputs):
        return made
    found = {spec.name: to_numpy(leaf) for spec, leaf in zip(signature.inputs, leaves, strict=True)}
    fits = all(found[spec.name].dtype == spec.datatype.dtype and found[spec.name].ndim == len(spec.shape) for spec in signature.inputs)
    return found if fits else made


def named_inputs(subject: Subject, job: Job) -> tuple[Subject, dict[str, Tensor]]:
    """The module with the inputs that the sample feeds, and a few of its rows as the module takes them. Raises InvalidInput."""
    known, needed = _parameters(subject)
    given = read_sample(job.sample)
    if job.before is not None:
        given = read_sample(job.before(shaped_tensors(None, given)))
    rows = _by_name(given, known, needed)
    names = tuple(name for name in known if name in rows)
    call = subject.call if subject.kind == "torchscript" else lambda tensors: subject.model(**dict(zip(names, tensors, strict=True)))
    found = dataclasses.replace(subject, names=names, call=call)
    few = {name: np.ascontiguousarray(_few(rows[name])) for name in names}
    return found, _taken(found, few)


def _parameters(subject: Subject) -> tuple[list[str], list[str]]:
    """Names of all inputs, and of those that must be given."""
    if subject.kind == "torchscript":
        return list(subject.names), list(subject.names)
    parameters = list(inspect.signature(subject.model.forward).parameters.values())
    named = [one for one in parameters if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}]
    needed = [one.name for one in named if one.default is one.empty]
    if not named or any(one.kind is one.POSITIONAL_ONLY for one in parameters):
        raise Unsupported("forward does not name what it takes", hint="wrap the module in one whose forward names its parameters")
    return [one.name for one in named], needed or [named[0].name]


def _by_name(given: Sample, known: Sequence[str], needed: Sequence[str]) -> dict[str, Tensor]:
    arrays = shaped_tensors(None, given)
    if given.form in {"tensors", "frame"} and all(name in arrays for name in needed):
        return {name: arrays[name] for name in known if name in arrays}
    if len(needed) == 1 and given.form == "frame":
        return {needed[0]: np.column_stack(list(arrays.values()))}
    if len(needed) == 1 and given.form == "matrix":
        return {needed[0]: next(iter(arrays.values()))}
    names = ", ".join(f"'{name}'" for name in needed)
    raise InvalidInput(
        f"forward takes {names}, the sample has {', '.join(list(arrays)[:8])}", hint="give an .npz with one array for each, by these names"
    )


def _few(tensor: Tensor) -> Tensor:
    """Some rows to trace with: at least two, so that a batch does not look like a constant."""
    return (
        np.concatenate([tensor, tensor])[:_TRACED_ROWS]
        if tensor.ndim and len(tensor) == 1
        else tensor[:_TRACED_ROWS]
        if tensor.ndim
        else tensor
    )


def _taken(subject: Subject, rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows in datatypes that the module answers to. Raises InvalidInput that says what it said, and whether other axes would do."""
    kind = next((tensor.dtype for tensor in subject.model.parameters() if tensor.is_floating_point()), torch.float32)
    wanted = torch.empty(0, dtype=torch.float32 if kind is torch.bfloat16 else kind).numpy().dtype
    floats = {name: tensor.astype(wanted) if tensor.dtype.kind == "f" else tensor for name, tensor in rows.items()}
    every = {name: tensor.astype(wanted) for name, tensor in rows.items() if tensor.dtype.kind in "biuf"}
    said = ""
    for tried in (floats, every):
        if len(tried) == len(rows):
            try:
                ask(subject.call, list(tried.values()))
            except AweighError:
                raise
            except Exception as error:  # noqa: BLE001  # a module raises anything for what it does not take
                said = said or f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
            else:
                return tried
    _check_axes(subject, floats)
    shapes = ", ".join(f"'{name}' {list(tensor.shape)} {tensor.dtype}" for name, tensor in rows.items())
    raise InvalidInput(f"the model itself fails on the sample ({shapes}): {said}", hint="give a sample as forward takes it")


def _check_axes(subject: Subject, rows: dict[str, Tensor]) -> None:
    """Raise InvalidInput for pictures whose channels stand at the other end of what the model takes."""
    for name, tensor in rows.items():
        if tensor.ndim == 4:
            for order in (_CHANNELS_LAST, (0, 2, 3, 1)):
                swapped = np.ascontiguousarray(tensor.transpose(order))
                if _shapes(subject, {**rows, name: swapped}) is not None:
                    raise InvalidInput(
                        f"the sample for '{name}' has shape {list(tensor.shape)}, the model takes {[-1, *swapped.shape[1:]]}: the channels stand at the other end",
                        hint=f"numpy.transpose(sample, {order})",
                    )


def probed(subject: Subject, rows: dict[str, Tensor]) -> tuple[Signature, dict[str, Tensor]]:
    """The signature as the module answers at several sizes, and the rows to trace it with."""
    base = _outputs(subject, rows)
    batched = _is_batched(subject, rows)
    sizes: Sizes = {(name, 0): BATCH for name in rows} if batched else {}
    alone = [
        (name, at)
        for name, tensor in rows.items()
        for at in range(1 if batched else 0, tensor.ndim)
        if not _feeds_unchecked(subject, tensor, at)
    ]
    waiting: dict[int, list[tuple[str, int]]] = {}
    for name, at in alone:
        if _answers_at(subject, rows, [(name, at)]):
            sizes[name, at] = f"axis{at}" if len(rows) == 1 else f"{name}_axis{at}"
        else:
            waiting.setdefault(rows[name].shape[at], []).append((name, at))
    for places in waiting.values():
        if len(places) > 1 and _answers_at(subject, rows, places):
            sizes |= dict.fromkeys(places, f"axis{places[0][1]}")
    inputs = tuple(
        TensorSpec(
            name=name, datatype=datatype_of(tensor), shape=tuple(sizes.get((name, at), int(size)) for at, size in enumerate(tensor.shape))
        )
        for name, tensor in rows.items()
    )
    return Signature(inputs=inputs, outputs=_output_specs(subject, rows, sizes, base)), _wide(rows, sizes)


def _feeds_unchecked(subject: Subject, tensor: Tensor, at: int) -> bool:
    """Whether an axis is as wide as a recurrent layer of a traced program, which answers any other width with whatever lies beside its weights."""
    if subject.kind != "torchscript" or tensor.ndim < 2 or at != tensor.ndim - 1:
        return False
    widths = {weight.shape[1] for name, weight in subject.model.named_parameters() if "weight_ih" in name}
    return tensor.shape[at] in widths


def _outputs(subject: Subject, rows: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return ask(subject.call, [rows[name] for name in subject.names])


def _shapes(subject: Subject, rows: Mapping[str, Tensor]) -> list[tuple[int, ...]] | None:
    try:
        return [tensor.shape for _, tensor in _outputs(subject, rows)]
    except Exception:  # noqa: BLE001  # a size that it does not take, whatever it raises
        return None


def _is_batched(subject: Subject, rows: Mapping[str, Tensor]) -> bool:
    counts = {tensor.shape[0] if tensor.ndim else 0 for tensor in rows.values()}
    if len(counts) != 1 or 0 in counts:
        return False
    for count in (1, 2, 3):
        shapes = _shapes(subject, {name: np.resize(tensor, (count, *tensor.shape[1:])) for name, tensor in rows.items()})
        if shapes is None or any(not shape or shape[0] != count for shape in shapes):
            return False
    return True


def resized(tensor: Tensor, at: int, size: int) -> Tensor:
    """The tensor with another size of one axis: cut, or its last part repeated."""
    return np.ascontiguousarray(np.take(tensor, np.minimum(np.arange(size), tensor.shape[at] - 1), axis=at))


def _other_sizes(size: int) -> tuple[int, int]:
    """Two further sizes, not one, which would stand for any; smaller where there is room, for models with a longest input."""
    return (size - 1, max(2, size // 2)) if size > 3 else (size + 1, size + 2)


def _answers_at(subject: Subject, rows: Mapping[str, Tensor], places: Sequence[tuple[str, int]]) -> bool:
    name, at = places[0]
    return all(_shapes(subject, _at_size(rows, places, size)) is not None for size in _other_sizes(rows[name].shape[at]))


def _at_size(rows: Mapping[str, Tensor], places: Sequence[tuple[str, int]], size: int) -> dict[str, Tensor]:
    changed = dict(rows)
    for name, at in places:
        changed[name] = resized(changed[name], at, size)
    return changed


def _output_specs(subject: Subject, rows: Mapping[str, Tensor], sizes: Sizes, base: list[tuple[str, Tensor]]) -> tuple[TensorSpec, ...]:
    axes: list[list[Axis]] = [[int(size) for size in tensor.shape] for _, tensor in base]
    for label in dict.fromkeys(sizes.values()):
        places = [place for place, name in sizes.items() if name == label]
        size = _other_sizes(rows[places[0][0]].shape[places[0][1]])[0]
        shapes = _shapes(subject, _at_size(rows, places, size)) or []
        for output, ((name, tensor), shape) in enumerate(zip(base, shapes, strict=False)):
            for at, (was, now) in enumerate(zip(tensor.shape, shape, strict=False)):
                if was != now:
                    axes[output][at] = label if now == size else f"{name}_axis{at}"
    return tuple(
        TensorSpec(name=name, datatype=datatype_of(tensor), shape=tuple(found)) for (name, tensor), found in zip(base, axes, strict=True)
    )


def _wide(rows: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """The rows with no dynamic axis of one element, which tracing would take for a constant."""
    found = dict(rows)
    for name, at in sizes:
        if found[name].shape[at] < 2:
            found[name] = resized(found[name], at, 2)
    return found


def with_axes(signature: Signature) -> dict[str, dict[int, str]]:
    """The dynamic axes of inputs and outputs, by name and position."""
    specs = (*signature.inputs, *signature.outputs)
    return {spec.name: {at: axis for at, axis in enumerate(spec.shape) if isinstance(axis, str)} for spec in specs}
