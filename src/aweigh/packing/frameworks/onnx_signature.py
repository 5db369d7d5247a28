"""What an ONNX graph takes and gives, as a Signature: axes named, ZipMap taken off, label and probabilities recognised. Called by `onnx.py`."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from onnx import TensorProto

from aweigh.core.errors import Unsupported
from aweigh.core.signature import BATCH, Axis, Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype

DATATYPES: Final = {
    TensorProto.BOOL: Datatype.BOOL,
    TensorProto.UINT8: Datatype.UINT8,
    TensorProto.UINT16: Datatype.UINT16,
    TensorProto.UINT32: Datatype.UINT32,
    TensorProto.UINT64: Datatype.UINT64,
    TensorProto.INT8: Datatype.INT8,
    TensorProto.INT16: Datatype.INT16,
    TensorProto.INT32: Datatype.INT32,
    TensorProto.INT64: Datatype.INT64,
    TensorProto.FLOAT16: Datatype.FP16,
    TensorProto.BFLOAT16: Datatype.BF16,
    TensorProto.FLOAT: Datatype.FP32,
    TensorProto.DOUBLE: Datatype.FP64,
    TensorProto.STRING: Datatype.BYTES,
}
_LABEL_NAMES: Final = frozenset({"label", "labels", "output_label", "class", "predicted_label"})
_PROBABILITY_NAMES: Final = frozenset({"probabilities", "probability", "output_probability", "scores", "probs"})
_PREDICTION_NAMES: Final = frozenset({"variable", "prediction", "predictions"})
_ITEM_NAMES: Final = frozenset({"items", "item_ids", "indices", "ids", "top_k", "topk"})
_SCORE_NAMES: Final = frozenset({"scores", "values", "similarities"})
Labels = tuple[str | int | float | bool, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The signature as far as the graph tells it; `changed` when outputs were rewritten. Output shapes of unknown rank are empty."""

    signature: Signature
    changed: bool


def describe(model: Any) -> Description:
    """Describe the model's graph, taking ZipMaps off in place. Raises Unsupported for inputs and outputs that are no tensors."""
    labels, changed = _without_zipmap(model.graph)
    given = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in given]
    changed = changed or len(values) != len(model.graph.input)
    if not values:
        raise Unsupported("the model takes no input", hint="a model without inputs always answers the same: there is nothing to serve")
    del model.graph.input[:]
    model.graph.input.extend(values)
    batch = _batch_name(values)
    inputs = tuple(_spec(value, batch, single=len(values) == 1) for value in model.graph.input)
    batched = all(spec.shape and spec.shape[0] == BATCH for spec in inputs)
    outputs = tuple(_spec(value, batch if batched else "", single=False, output=batched) for value in model.graph.output)
    return Description(signature=with_roles(inputs, outputs, labels or _class_labels(model.graph)), changed=changed)


def _without_zipmap(graph: Any) -> tuple[Labels, bool]:
    labels: Labels = ()
    changed = False
    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        for output in graph.output:
            if output.name == node.output[0]:
                labels = labels or _labels_of(node)
                output.type.Clear()
                output.type.tensor_type.elem_type = TensorProto.FLOAT
                for size in ("", len(_labels_of(node))):
                    dim = output.type.tensor_type.shape.dim.add()
                    if isinstance(size, int):
                        dim.dim_value = size
                _redirect(graph, node.input[0], output.name)
                graph.node.remove(node)
                changed = True
    return labels, changed


def _redirect(graph: Any, inner: str, output: str) -> None:
    """Let whoever makes `inner` make `output` in its place."""
    for node in graph.node:
        for names in (node.input, node.output):
            for at, name in enumerate(names):
                if name == inner:
                    names[at] = output


def _labels_of(node: Any) -> Labels:
    for attribute in node.attribute:
        if attribute.name.startswith("classlabels_"):
            return tuple(attribute.ints) or tuple(item.decode("utf-8", "replace") for item in attribute.strings)
    return ()


def _class_labels(graph: Any) -> Labels:
    return next((labels for node in graph.node if (labels := _labels_of(node))), ())


def _batch_name(values: list[Any]) -> str:
    """The dim_param of the first axis that stands for the batch; "" when it has no name, "-" when the first axis is fixed."""
    for value in values:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            return str(dims[0].dim_param)
    return "-"


def _spec(value: Any, batch: str, *, single: bool, output: bool = True) -> TensorSpec:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value")
        raise Unsupported(f"'{value.name}' is a {kind}, not a tensor", hint="export the model with tensors at its edges (zipmap off)")
    datatype = DATATYPES.get(value.type.tensor_type.elem_type)
    if datatype is None:
        name = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        raise Unsupported(f"'{value.name}' is of the type {name}, which cannot be sent", hint="cast it inside the graph")
    axes = tuple(_axis(dim, at, value.name, batch, single=single) for at, dim in enumerate(value.type.tensor_type.shape.dim))
    if not output:
        axes = tuple(f"{value.name}_axis0" if at == 0 and axis == BATCH else axis for at, axis in enumerate(axes))
    return TensorSpec(name=value.name, datatype=datatype, shape=axes)


def _axis(dim: Any, at: int, name: str, batch: str, *, single: bool) -> Axis:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    if dim.dim_param:
        return BATCH if dim.dim_param == batch else str(dim.dim_param)
    if at == 0 and batch != "-":
        return BATCH
    return f"axis{at}" if single else f"{name}_axis{at}"


def with_roles(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], labels: Labels) -> Signature:
    """The signature with task and roles, where names and types leave no doubt."""
    label = next((spec for spec in outputs if spec.name.lower() in _LABEL_NAMES and _discrete(spec) and len(spec.shape) <= 2), None)
    chances = next((spec for spec in outputs if _is_chances(spec)), None)
    if label is not None and (chances is not None or labels):
        roles = {label.name: "label"} | ({chances.name: "probability"} if chances else {})
        count = chances.shape[1] if chances is not None and len(chances.shape) == 2 else None
        known = labels if labels and (not isinstance(count, int) or count == len(labels)) else ()
        return Signature(inputs=inputs, outputs=_roled(outputs, roles), task=Task.CLASSIFICATION, labels=known)
    found = _first_k(outputs)
    if found:
        return Signature(inputs=inputs, outputs=_roled(outputs, found), task=Task.RETRIEVAL)
    only = outputs[0]
    if len(outputs) == 1 and only.name.lower() in _PREDICTION_NAMES and only.datatype.is_float and _column(only):
        return Signature(inputs=inputs, outputs=_roled(outputs, {only.name: "prediction"}), task=Task.REGRESSION)
    return Signature(inputs=inputs, outputs=outputs)


def _first_k(outputs: tuple[TensorSpec, ...]) -> dict[str, str]:
    """Roles of a recommender's two outputs: the first k items of each row and their scores, by name and of one shape."""
    if len(outputs) != 2 or outputs[0].shape != outputs[1].shape:
        return {}
    items = next((spec for spec in outputs if spec.name.lower() in _ITEM_NAMES and _discrete(spec) and len(spec.shape) == 2), None)
    scores = next((spec for spec in outputs if spec.name.lower() in _SCORE_NAMES and spec.datatype.is_float), None)
    return {items.name: "item", scores.name: "score"} if items and scores else {}


def _discrete(spec: TensorSpec) -> bool:
    return spec.datatype in {Datatype.INT64, Datatype.INT32, Datatype.BYTES}


def _is_chances(spec: TensorSpec) -> bool:
    return spec.name.lower() in _PROBABILITY_NAMES and spec.datatype.is_float and len(spec.shape) in {0, 2}


def _column(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)


def _roled(outputs: tuple[TensorSpec, ...], roles: dict[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape, role=roles.get(spec.name, "")) for spec in outputs)


def known_texts(model: Any) -> Iterator[str]:
    """Texts that the graph's encoders know, for a made sample."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in {"keys_strings", "cats_strings", "pool_strings", "string_vocabulary"}:
                yield from (item.decode("utf-8", "replace") for item in attribute.strings)
