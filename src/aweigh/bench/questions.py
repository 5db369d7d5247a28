"""Request bodies: from tensors or rows in the form of each dialect, and made-up ones where a person gave no data."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.bench.plan import Question
from aweigh.core.errors import InvalidInput, Unsupported
from aweigh.core.tensors import INTEGER_RANGE, NO_JSON, Datatype, Tensor, datatype_of, text_of, to_raw
from aweigh.protos import message

MADE_UP: Final = 16
"""Different requests that are made up: one alone would be answered from every cache on the way."""
MOST: Final = 4096
"""Different requests taken from a file; they are asked in turn."""
_OPEN_AXIS: Final = 16
_LARGEST_INTEGER: Final = 100
JSON: Final = (("content-type", "application/json"),)


class TensorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output as Open Inference metadata tell it; -1 is an axis of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ColumnInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A column as `GET /predict/NAME` tells it."""

    name: str
    kind: str
    nullable: bool = False
    categories: tuple[str, ...] = ()


class NamedTensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input of one request."""

    name: str
    datatype: Datatype
    array: Any


def made_up_tensors(inputs: Sequence[TensorInfo], *, rows: int, seed: int) -> list[list[NamedTensor]]:
    """Requests of random values: floats around 0, small whole numbers, short texts. The first open axis is the batch."""
    random = np.random.default_rng(seed)
    return [[_made_up(info, rows, random) for info in inputs] for _ in range(MADE_UP)]


def _made_up(info: TensorInfo, rows: int, random: np.random.Generator) -> NamedTensor:
    try:
        datatype = Datatype(info.datatype)
    except ValueError:
        raise Unsupported(f"input '{info.name}' has datatype {info.datatype!r}", hint="give the whole body with --body FILE") from None
    shape = tuple((rows if at == 0 else _OPEN_AXIS) if size < 0 else size for at, size in enumerate(info.shape))
    if datatype is Datatype.BYTES:
        texts = np.empty(shape, dtype=object)
        for place in np.ndindex(shape):
            texts[place] = f"text {random.integers(1000)}"
        return NamedTensor(name=info.name, datatype=datatype, array=texts)
    if datatype.is_float:
        return NamedTensor(name=info.name, datatype=datatype, array=random.normal(size=shape).astype(datatype.dtype))
    high = 2 if datatype is Datatype.BOOL else min(_LARGEST_INTEGER, INTEGER_RANGE[datatype][1] + 1)
    return NamedTensor(name=info.name, datatype=datatype, array=random.integers(0, high, size=shape).astype(datatype.dtype))


def made_up_rows(columns: Sequence[ColumnInfo], *, rows: int, seed: int) -> list[list[dict[str, object]]]:
    """Requests of random rows, as the columns' kinds and categories say."""
    random = np.random.default_rng(seed)
    return [[{column.name: _cell(column, random) for column in columns} for _ in range(rows)] for _ in range(MADE_UP)]


def _cell(column: ColumnInfo, random: np.random.Generator) -> object:
    if column.categories:
        return column.categories[int(random.integers(len(column.categories)))]
    if column.kind == "boolean":
        return bool(random.integers(2))
    if column.kind == "number":
        return float(random.normal())
    return int(random.integers(_LARGEST_INTEGER)) if column.kind == "integer" else f"text {random.integers(1000)}"


def slices(tensors: Mapping[str, Tensor], datatypes: Mapping[str, Datatype], rows: int) -> list[list[NamedTensor]]:
    """Requests of `rows` rows each from whole columns of tensors; what is left over at the end is not asked."""
    total = min(len(tensor) for tensor in tensors.values())
    if total < rows:
        raise InvalidInput(f"the data has {total} rows, fewer than the {rows} of one request", hint="give more data, or fewer --rows")
    starts = range(0, total - rows + 1, rows)[:MOST]
    return [
        [
            NamedTensor(name=name, datatype=datatypes.get(name, datatype_of(tensor)), array=tensor[at : at + rows])
            for name, tensor in tensors.items()
        ]
        for at in starts
    ]


def rest_question(tensors: Sequence[NamedTensor]) -> Question:
    """An Open Inference request in JSON. Raises Unsupported for the datatypes that have no JSON form."""
    for tensor in tensors:
        if tensor.datatype in NO_JSON:
            raise Unsupported(
                f"input '{tensor.name}' is {tensor.datatype.value}, which has no JSON form", hint="add --binary, or ask over grpc://"
            )
    inputs = [
        {"name": tensor.name, "shape": list(tensor.array.shape), "datatype": tensor.datatype.value, "data": _plain(tensor)}
        for tensor in tensors
    ]
    return Question(body=_json({"inputs": inputs}), headers=JSON)


def binary_question(tensors: Sequence[NamedTensor]) -> Question:
    """An Open Inference request with raw tensors behind its JSON, that asks for the same in return."""
    raw = [to_raw(tensor.array, tensor.datatype) for tensor in tensors]
    inputs = [
        {
            "name": tensor.name,
            "shape": list(tensor.array.shape),
            "datatype": tensor.datatype.value,
            "parameters": {"binary_data_size": len(data)},
        }
        for tensor, data in zip(tensors, raw, strict=True)
    ]
    head = _json({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = (("content-type", "application/octet-stream"), ("inference-header-content-length", str(len(head))))
    return Question(body=b"".join((head, *raw)), headers=headers)


def grpc_question(tensors: Sequence[NamedTensor], model: str, version: str) -> Question:
    """A ModelInferRequest with raw contents."""
    made = message("inference.ModelInferRequest")(model_name=model, model_version=version)
    for tensor in tensors:
        made.inputs.add(name=tensor.name, datatype=tensor.datatype.value, shape=tensor.array.shape)
        made.raw_input_contents.append(to_raw(tensor.array, tensor.datatype))
    return Question(body=made.SerializeToString())


def rows_question(rows: Sequence[Mapping[str, object]]) -> Question:
    """A request of the rows dialect."""
    return Question(body=_json({"rows": rows}), headers=JSON)


def _plain(tensor: NamedTensor) -> list[object]:
    items: list[object] = tensor.array.ravel().tolist()
    return [text_of(item) if item is not None else None for item in items] if tensor.datatype is Datatype.BYTES else items


def _json(document: object) -> bytes:
    """NaN and the infinities stand bare, as inference servers take them."""
    return json.dumps(document, separators=(",", ":")).encode()
