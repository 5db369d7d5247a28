import msgspec
import numpy as np
import pytest

from aweigh.core.errors import InvalidFile
from aweigh.core.tensorfile import MAGIC, read_tensors, write_tensors
from aweigh.core.tensors import Datatype

TENSORS = {
    "input/x": (Datatype.FP32, np.array([[1.5, np.nan], [-np.inf, 0.0]], dtype=np.float32)),
    "input/text": (Datatype.BYTES, np.array([["a", None], ["ø", ""]], dtype=object)),
    "input/blob": (Datatype.BYTES, np.array([b"\xff", None, b""], dtype=object)),
    "input/half": (Datatype.BF16, np.array([1.0, -2.0], dtype=np.float32)),
    "output/label": (Datatype.INT64, np.array(7)),
    "output/none": (Datatype.BOOL, np.zeros((0, 3), dtype=np.bool_)),
    "output/empty": (Datatype.BYTES, np.empty((0,), dtype=object)),
}


def test_what_was_written_is_read():
    back = read_tensors(write_tensors(TENSORS), place="here")
    assert list(back) == list(TENSORS)
    for name, (datatype, tensor) in TENSORS.items():
        assert back[name][0] is datatype
        assert back[name][1].shape == tensor.shape
        if datatype is Datatype.BYTES:
            assert back[name][1].tolist() == tensor.tolist()
        else:
            assert back[name][1].tobytes() == tensor.tobytes()


def test_the_same_tensors_give_the_same_bytes():
    assert write_tensors(TENSORS) == write_tensors({name: (datatype, tensor.copy()) for name, (datatype, tensor) in TENSORS.items()})


def test_every_truncation_is_refused():
    data = write_tensors(TENSORS)
    for end in range(len(data)):
        with pytest.raises(InvalidFile, match="here: "):
            read_tensors(data[:end], place="here")
    with pytest.raises(InvalidFile, match="1 bytes after the last tensor"):
        read_tensors(data + b"\0", place="here")


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_damage_at_any_byte_is_refused_or_harmless(change):
    data = write_tensors(TENSORS)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= change
        try:
            read_tensors(bytes(damaged), place="here")
        except InvalidFile:
            continue


def file_with(header: object, content: bytes = b"") -> bytes:
    text = msgspec.json.encode(header)
    return MAGIC + len(text).to_bytes(8, "little") + text + content


ENTRY = {"name": "x", "datatype": "FP32", "shape": [1], "size_bytes": 4}


@pytest.mark.parametrize(
    ("header", "content"),
    [
        ([{**ENTRY, "size_bytes": -4}], b""),
        ([{**ENTRY, "shape": [0], "size_bytes": -4}, {**ENTRY, "name": "y"}], b""),
        ([{**ENTRY, "size_bytes": 2**70}], b"\0" * 4),
        ([{**ENTRY, "shape": [-1]}], b"\0" * 4),
        ([{**ENTRY, "shape": [-1, -1]}], b"\0" * 4),
        ([{**ENTRY, "shape": [0, 2**62, 2**62], "size_bytes": 0}], b""),
        ([{**ENTRY, "shape": [0] * 100, "size_bytes": 0}], b""),
        ([ENTRY, ENTRY], b"\0" * 8),
        ([{**ENTRY, "datatype": "FP128"}], b"\0" * 4),
        ([{**ENTRY, "more": 1}], b"\0" * 4),
        ([{**ENTRY, "datatype": "BYTES", "missing": [5]}], b"\0" * 4),
        ([{**ENTRY, "datatype": "BYTES", "missing": [-1]}], b"\0" * 4),
        ([{**ENTRY, "datatype": "BYTES", "missing": [2**70]}], b"\0" * 4),
        ([{**ENTRY, "datatype": "BYTES", "text": True, "size_bytes": 5}], b"\1\0\0\0\xff"),
        ({}, b""),
        (None, b""),
    ],
)
def test_headers_that_do_not_add_up_are_refused(header, content):
    with pytest.raises(InvalidFile, match="here: "):
        read_tensors(file_with(header, content), place="here")


def test_a_deeply_nested_header_is_refused():
    with pytest.raises(InvalidFile):
        read_tensors(MAGIC + (200_000).to_bytes(8, "little") + b"[" * 200_000, place="here")


def test_a_header_length_beyond_the_file_is_refused():
    with pytest.raises(InvalidFile):
        read_tensors(MAGIC + b"\xff" * 8 + b"[]", place="here")
