"""Holds what a layout says of a model against the model itself, and gives its columns the names people use. Called by the child after packing."""

from collections.abc import Sequence

import msgspec

from aweigh.core.errors import InvalidFile
from aweigh.core.package import PackageManifest
from aweigh.core.signature import BATCH, Axis, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.packing.layouts.inside import Stated, StatedTensor


def agreed(manifest: PackageManifest, stated: Stated) -> PackageManifest:
    """The manifest, its columns named. Raises InvalidFile, naming tensor and axis, where the layout describes another model."""
    signature = manifest.session_signature
    _check(stated, "input", stated.inputs, signature.inputs)
    _check(stated, "output", stated.outputs, signature.outputs)
    if not stated.columns or manifest.hooks.pre:
        return manifest
    return msgspec.structs.replace(manifest, signature=_named(manifest.signature, stated))


def _check(stated: Stated, what: str, said: Sequence[StatedTensor], found: Sequence[TensorSpec]) -> None:
    if not said:
        return
    own = {spec.name: spec for spec in found}
    named = [tensor.name for tensor in said if tensor.name]
    strange = [name for name in named if name not in own]
    if strange:
        raise InvalidFile(
            f"{stated.place} names the {what} {strange[0]!r}, which the model does not have: it has {', '.join(map(repr, own))}",
            hint="the file belongs to another model, or to another version of it",
        )
    if what == "input" and named and len(named) != len(own):
        missing = ", ".join(repr(name) for name in own if name not in named)
        raise InvalidFile(f"{stated.place} leaves out the {what} {missing} of the model", hint="the file belongs to another model")
    pairs = [(tensor, own[tensor.name]) for tensor in said if tensor.name]
    if not pairs and len(said) == len(found):
        pairs = list(zip(said, found, strict=True))
    for tensor, spec in pairs:
        _check_one(stated, what, tensor, spec)


def _check_one(stated: Stated, what: str, tensor: StatedTensor, spec: TensorSpec) -> None:
    if tensor.datatype and tensor.datatype != spec.datatype.value:
        raise InvalidFile(
            f"{stated.place} says that {what} '{spec.name}' is {tensor.datatype}, and the model's is {spec.datatype.value}",
            hint="the file belongs to another model",
        )
    if tensor.dims is None:
        return
    axes = spec.shape[1:] if stated.batched and spec.shape[:1] == (BATCH,) else spec.shape
    fits = len(axes) == len(tensor.dims) and all(_fits(axis, size) for axis, size in zip(axes, tensor.dims, strict=True))
    one = stated.batched and not axes and tensor.dims == (1,)  # a batch of single numbers
    if not fits and not one:
        raise InvalidFile(
            f"{stated.place} says that {what} '{spec.name}' has dims {list(tensor.dims)}, and the model's has {list(axes)}",
            hint="the file belongs to another model, or to another version of it",
        )


def _fits(axis: Axis, size: int) -> bool:
    return isinstance(axis, str) or size == -1 or axis == size


def _named(signature: Signature, stated: Stated) -> Signature:
    """A matrix of numbers becomes columns of these names. Raises InvalidFile where the model has other columns, or another number of them."""
    if signature.columns:
        own = [column.name for column in signature.columns]
        if sorted(own) != sorted(stated.columns):
            raise InvalidFile(
                f"{stated.place} names the columns {', '.join(stated.columns)[:200]}, and the model's are {', '.join(own)[:200]}",
                hint="the file belongs to another model, or to another version of it",
            )
        return signature
    only = signature.inputs[0]
    if len(signature.inputs) != 1 or len(only.shape) != 2 or only.datatype is Datatype.BYTES or not signature.batched:
        return signature
    if isinstance(only.shape[1], int) and only.shape[1] != len(stated.columns):
        raise InvalidFile(
            f"{stated.place} names {len(stated.columns)} columns, and the model takes {only.shape[1]}",
            hint="the file belongs to another model",
        )
    kind = ColumnKind.INTEGER if only.datatype.is_integer else ColumnKind.NUMBER
    columns = tuple(
        Column(
            name=name,
            kind=kind,
            input=only.name,
            index=at,
            nullable=only.takes_missing and only.datatype.is_float and at not in only.refuses_missing_at,
        )
        for at, name in enumerate(stated.columns)
    )
    return msgspec.structs.replace(signature, columns=columns)
