"""Shared memory that a hostile child has written: whatever lies there is read as tensors that fit it, or refused."""

from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aweigh.core.errors import InvalidFile
from aweigh.isolate.tensorbuffers import Packer, Unpacker, write

ROOM = 8192
TOLD = st.tuples(
    st.text(max_size=5),
    st.sampled_from(["<f4", "<i8", "|b1", "O", "|O", "<f2", ">u2", "|V8", "<U4", "<M8[s]", "", "f4,f4"]) | st.text(max_size=4),
    st.lists(st.integers(-2, 2**33) | st.integers(0, 5), max_size=4),
    st.integers(-10, 2**40) | st.integers(0, 64),
)
HEADERS = st.binary(max_size=200) | st.lists(TOLD, max_size=4).map(lambda told: msgspec.msgpack.encode([{}, told]))


@given(HEADERS, st.binary(max_size=600), st.booleans())
@settings(max_examples=300, deadline=None)
def test_anything_is_read_or_refused(header: bytes, rest: bytes, copy: bool) -> None:
    memory = memoryview(bytearray((header + rest).ljust(ROOM, b"\0")))
    unpacker = Unpacker()
    for _ in range(2):
        try:
            _, tensors = unpacker.unpack(memory, len(header), copy=copy)
        except InvalidFile:
            continue
        assert sum(tensor.nbytes for tensor in tensors.values() if tensor.dtype != object) <= ROOM * len(tensors)


NUMBERS = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u2", "u8", "?", ">f4"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
TEXTS = st.lists(st.text(max_size=5) | st.binary(max_size=5) | st.none() | st.integers(-(2**60), 2**60) | st.booleans(), max_size=6)


def _objects(items: list[Any]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


@given(st.dictionaries(st.text(max_size=4), NUMBERS | TEXTS.map(_objects), max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_was_written_is_read(tensors: dict[str, np.ndarray], copy: bool) -> None:
    packer, unpacker = Packer(), Unpacker()
    for _ in range(2):
        layout, buffers = packer.pack({}, tensors)
        memory = memoryview(bytearray(max(layout.size, 1)))
        write(memory, layout, buffers)
        _, found = unpacker.unpack(memory, len(layout.header), copy=copy)
        assert list(found) == list(tensors)
        for name, tensor in tensors.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
            assert found[name].tobytes() == tensor.tobytes() if tensor.dtype != object else found[name].tolist() == tensor.tolist()
