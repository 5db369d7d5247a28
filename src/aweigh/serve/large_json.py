"""Large tensors in JSON: one matrix of floats, flat or nested, read by simdjson straight into an array. Called by the REST dialect.

A yes or nothing: whatever is out of the ordinary (other fields, other types, numbers out of range, nesting that is not the shape) is left to
the ordinary road, which explains. Measured at two and a half times the speed of orjson and numpy on 1x3x224x224 (`python -m bench.large_json`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import simdjson

from aweigh.core.tensors import Tensor, count_of
from aweigh.engine.acceptance import Acceptance
from aweigh.serve.json_structure import count_tokens

MIN_BYTES: Final = 32 * 1024
"""Below this the ordinary road is as quick."""
_MAX_LISTS: Final = 4096
"""Inner lists whose lengths are looked at one by one."""
_BESIDE: Final = 256
"""Tokens in a plain request that belong to no number."""
_TOKENS: Final = 4
"""The most tokens for each number: itself, a comma, and brackets around it."""
_LONGEST: Final = 64
"""Where tokens are longer than this, they are no numbers."""
_PLAIN_REQUEST: Final = (["inputs"], ["inputs", "id"], ["id", "inputs"])
_PLAIN_INPUT: Final = {"name", "shape", "datatype", "data"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LargeRequest:
    """What was read: the tensor has the declared shape; `id` is None where none was given."""

    tensor: Tensor
    id: str | None


class LargeJson:
    """Holds the parser, which reuses its memory; for one thread.

    What simdjson notes of a body takes up to nine times its size: bodies of more than `free_bytes` are read only if they do not hold more
    values than the model takes, and by a parser that is dropped afterwards.
    """

    def __init__(self, free_bytes: int) -> None:
        self._parser = simdjson.Parser()
        self._free_bytes = free_bytes

    def read(self, body: bytes, acceptance: Acceptance, max_rows: int) -> LargeRequest | None:
        """The request of one float matrix that `acceptance` takes, or None."""
        parser = self._parser
        if len(body) > self._free_bytes:
            most = max_rows * count_of([size for size in acceptance.tail if isinstance(size, int)])
            if not len(body) / _LONGEST <= count_tokens(body) <= _TOKENS * most + _BESIDE:
                return None
            parser = simdjson.Parser()
        try:
            document = parser.parse(body)
            return _read(document, acceptance, max_rows)
        except (ValueError, TypeError, RuntimeError, KeyError, IndexError, AttributeError):  # simdjson's, and those of other shapes
            return None


def _read(document: Any, acceptance: Acceptance, max_rows: int) -> LargeRequest | None:
    if list(document.keys()) not in _PLAIN_REQUEST or len(document["inputs"]) != 1:
        return None
    given, name = document["inputs"][0], document.get("id")
    keys = list(given.keys())
    if len(keys) != len(_PLAIN_INPUT) or set(keys) != _PLAIN_INPUT or not isinstance(name, str | None):
        return None
    shape: list[Any] = given["shape"].as_list()
    if not _fits(given["name"], given["datatype"], shape, acceptance, max_rows):
        return None
    numbers = np.frombuffer(given["data"].as_buffer(of_type="d"), dtype=np.float64)
    if numbers.size != count_of(shape) or not _nested_as(given["data"], shape):
        return None
    with np.errstate(over="ignore"):
        tensor: Any = numbers.astype(acceptance.dtype, copy=False)
    if not np.isfinite(tensor).all():  # beyond what the datatype holds
        return None
    return LargeRequest(tensor=tensor.reshape(shape), id=name)


def _fits(name: object, datatype: object, shape: list[Any], acceptance: Acceptance, max_rows: int) -> bool:
    return (
        name == acceptance.name
        and datatype == acceptance.datatype
        and len(shape) == acceptance.rank
        and all(type(size) is int for size in shape)
        and tuple(shape[1:]) == acceptance.tail
        and 0 < shape[0] <= max_rows
    )


def _nested_as(data: Any, shape: Sequence[int]) -> bool:
    """Whether data is flat, or nested exactly as the shape says."""
    if not isinstance(data[0], simdjson.Array):
        return True
    if count_of(list(shape[:-1])) > _MAX_LISTS:
        return False
    level: list[Any] = [data]
    for size in shape[:-1]:
        if any(len(items) != size for items in level):
            return False
        level = [item for items in level for item in items]
    return all(isinstance(items, simdjson.Array) and len(items) == shape[-1] for items in level)
