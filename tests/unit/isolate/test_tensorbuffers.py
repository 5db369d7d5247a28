"""Tensors in shared memory: they come back as they were, and nothing the other side claims about them is believed."""

import msgspec
import numpy as np
import pytest

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.tensors import Tensors
from aweigh.isolate.tensorbuffers import Described, Header, Packer, Unpacker, write

ROOM = 1 << 20


def crossed(tensors: Tensors, *, copy: bool, said: dict[str, object] | None = None) -> dict[str, np.ndarray]:
    """There and back, twice, so that what is remembered is used too."""
    packer, unpacker = Packer(), Unpacker()
    for _ in range(2):
        memory = memoryview(bytearray(ROOM))
        layout, buffers = packer.pack(said or {}, tensors)
        write(memory, layout, buffers)
        told, found = unpacker.unpack(memory, len(layout.header), copy=copy)
        assert told == (said or {})
        if copy:
            memory[:] = bytes(ROOM)
    return found


@pytest.mark.parametrize("copy", [True, False])
def test_numbers_of_every_kind_come_back(copy: bool) -> None:
    tensors = {
        "half": np.array([[1.5, np.nan]], dtype=np.float16),
        "strided": np.arange(30.0).reshape(5, 6)[:, ::2],
        "turned": np.arange(6.0).reshape(2, 3).T,
        "swapped": np.arange(3, dtype=">i4"),
        "scalar": np.array(7, dtype=np.int8),
        "none": np.zeros((0, 4), dtype=np.float32),
        "flags": np.array([True, False]),
        "big": np.array([2**64 - 1], dtype=np.uint64),
    }
    for name, tensor in tensors.items():
        tensor.flags.writeable = False
        found = crossed({name: tensor}, copy=copy)[name]
        assert found.dtype == tensor.dtype
        np.testing.assert_array_equal(found, tensor)
    found = crossed(tensors, copy=copy)
    assert list(found) == list(tensors)
    np.testing.assert_array_equal(found["strided"], tensors["strided"])


def test_texts_come_back_as_they_were_and_what_cannot_cross_is_named() -> None:
    texts = np.empty((2, 3), dtype=object)
    texts[:] = [["a", b"\x00\xff", None], ["", "\N{SNOWMAN}", 1.5]]
    found = crossed({"t": texts, "x": np.ones(2)}, copy=True, said={"hook": "pre"})
    assert found["t"].tolist() == texts.tolist()
    for wrong in (np.array(["\ud800"], dtype=object), np.array([object()], dtype=object), np.array([1j])):
        with pytest.raises(InvalidInput, match="tensor 't'"):
            Packer().pack({}, {"t": wrong})


def test_what_is_remembered_is_bounded_and_told_apart() -> None:
    packer, unpacker = Packer(), Unpacker()
    memory = memoryview(bytearray(ROOM))
    for rows in [*range(1, 600), 5, 600]:
        x = np.full((rows, 2), rows, dtype=np.float32)
        layout, buffers = packer.pack({}, {"x": x})
        write(memory, layout, buffers)
        np.testing.assert_array_equal(unpacker.unpack(memory, len(layout.header), copy=True)[1]["x"], x)
    assert len(packer._layouts) <= 256 >= len(unpacker._places)


HOSTILE = [
    Described("x", "<f4", (4,), 1 << 40),
    Described("x", "<f4", (4,), -16),
    Described("x", "<f4", (5,), 16),
    Described("x", "<f4", (-1, -4), 16),
    Described("x", "<f4", (2**40, 2**40), 16),
    Described("x", "<f4", (1,) * 65, 4),
    Described("x", "O", (3,), 16),
    Described("x", "|O", (2,), 16),
    Described("x", "V16", (1,), 16),
    Described("x", "nonsense", (1,), 16),
]


@pytest.mark.parametrize("told", HOSTILE, ids=lambda told: f"{told.dtype} {str(told.shape)[:20]} {told.size}")
def test_false_claims_are_refused(told: Described) -> None:
    header = msgspec.msgpack.encode(Header({}, (told,)))
    memory = memoryview(bytearray(header.ljust(4096, b"\xc1")))
    with pytest.raises(InvalidFile):
        Unpacker().unpack(memory, len(header), copy=True)


@pytest.mark.parametrize("header", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x91" * 5000, bytes(64)])
def test_headers_that_are_none_are_refused(header: bytes) -> None:
    with pytest.raises(InvalidFile):
        Unpacker().unpack(memoryview(bytearray(header.ljust(8192, b"\0"))), len(header), copy=True)


def test_a_header_that_was_judged_in_larger_memory_is_judged_again_in_smaller() -> None:
    unpacker = Unpacker()
    layout, buffers = Packer().pack({}, {"x": np.zeros(1000)})
    memory = memoryview(bytearray(ROOM))
    write(memory, layout, buffers)
    unpacker.unpack(memory, len(layout.header), copy=True)
    with pytest.raises(InvalidFile, match="not there"):
        unpacker.unpack(memory[:4096], len(layout.header), copy=True)
