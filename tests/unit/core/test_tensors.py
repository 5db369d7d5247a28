import ml_dtypes
import numpy as np
import pytest

from aweigh.core.errors import InvalidInput
from aweigh.core.tensors import (
    DTYPES,
    Datatype,
    bf16_to_float32,
    bytes_of,
    count_of,
    datatype_of,
    float32_to_bf16,
    from_raw,
    text_of,
    to_raw,
)

NUMERIC = [datatype for datatype in Datatype if datatype not in (Datatype.BYTES, Datatype.BF16)]


@pytest.mark.parametrize("datatype", NUMERIC)
def test_numeric_tensors_survive_their_raw_form(datatype):
    dtype = DTYPES[datatype]
    if datatype.is_float:
        items = np.array([0.0, -0.0, 1.5, np.inf, -np.inf, np.nan], dtype=dtype)
    elif datatype is Datatype.BOOL:
        items = np.array([True, False] * 3)
    else:
        items = np.array([0, 1, np.iinfo(dtype).max, np.iinfo(dtype).min, 2, 3], dtype=dtype)
    tensor = items.reshape(2, 3)
    raw = to_raw(tensor, datatype)
    assert len(raw) == 6 * datatype.item_bytes
    back = from_raw(raw, datatype, (2, 3))
    assert back.dtype == dtype
    assert back.tobytes() == tensor.tobytes()
    assert datatype_of(back) is datatype


def test_raw_is_little_endian_and_row_major():
    assert to_raw(np.array([[1, 2], [3, 4]], dtype=">i4").T, Datatype.INT32) == np.array([1, 3, 2, 4], dtype="<i4").tobytes()
    assert to_raw(np.array([1, 2], dtype=np.int64), Datatype.INT32) == np.array([1, 2], dtype="<i4").tobytes()


def test_numeric_results_are_views_that_cannot_be_written():
    tensor = from_raw(b"\0" * 8, Datatype.FP32, (2,))
    assert not tensor.flags.writeable


def test_bf16_rounds_as_ml_dtypes_does():
    """Every bfloat16, its neighbours in float32, and each point half way between two."""
    high = np.arange(0x10000, dtype=np.uint32) << 16
    bits = (high[:, None] | np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=np.uint32)).ravel()
    values = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        expected = values.astype(ml_dtypes.bfloat16)
    actual = np.frombuffer(float32_to_bf16(values), dtype=ml_dtypes.bfloat16)
    missing = np.isnan(values)
    assert np.array_equal(np.isnan(actual.astype(np.float32)), missing)
    assert np.array_equal(actual[~missing].view(np.uint16), expected[~missing].view(np.uint16))


def test_bf16_widens_exactly():
    raw = np.arange(0x10000, dtype="<u2").tobytes()
    expected = np.frombuffer(raw, dtype=ml_dtypes.bfloat16).astype(np.float32)
    assert bf16_to_float32(raw).tobytes() == expected.tobytes()
    tensor = from_raw(raw, Datatype.BF16, (256, 256))
    assert tensor.dtype == np.float32
    finite = tensor[~np.isnan(tensor)]
    assert to_raw(finite, Datatype.BF16) == np.frombuffer(raw, "<u2")[~np.isnan(tensor.ravel())].tobytes()
    assert to_raw(np.array(np.nan, dtype=np.float32), Datatype.BF16) == b"\xc0\x7f"


def test_bytes_are_length_and_content():
    tensor = np.array([["a", b"\xff\0"], [None, "ø"]], dtype=object)
    raw = to_raw(tensor, Datatype.BYTES)
    assert raw == b"\1\0\0\0a\2\0\0\0\xff\0\0\0\0\0\2\0\0\0\xc3\xb8"
    assert from_raw(raw, Datatype.BYTES, (2, 2)).tolist() == [[b"a", b"\xff\0"], [b"", "ø".encode()]]
    assert to_raw(np.array(["ab", "c"]), Datatype.BYTES) == b"\2\0\0\0ab\1\0\0\0c"
    assert from_raw(b"", Datatype.BYTES, (0, 3)).shape == (0, 3)
    assert from_raw(b"\1\0\0\0x", Datatype.BYTES, ()).item() == b"x"


@pytest.mark.parametrize(
    ("raw", "shape", "message"),
    [
        (b"\5\0\0\0ab", (1,), "claims 5 bytes, 2 are left"),
        (b"\xff\xff\xff\xff", (1,), "claims 4294967295 bytes"),
        (b"\1\0\0\0a", (2,), "hold 1 whole elements in 5 of 5 bytes, the shape needs 2"),
        (b"\1\0\0\0a\0", (1,), "hold 1 whole elements in 5 of 6"),
        (b"\1\0\0", (1,), "hold 0 whole elements"),
        (b"", (2**31, 2**31), "the shape needs 4611686018427387904"),
    ],
)
def test_bytes_with_false_lengths_are_refused(raw, shape, message):
    with pytest.raises(InvalidInput, match=message):
        from_raw(raw, Datatype.BYTES, shape, name="x")


@pytest.mark.parametrize("shape", [(3,), (2**63,), (2**31, 2**31), (-1,), (-1, -2), (2, 2)])
def test_a_length_that_does_not_fit_the_shape_is_refused(shape):
    with pytest.raises(InvalidInput, match="input 'x'"):
        from_raw(b"\0" * 8, Datatype.FP32, shape, name="x")


@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.BF16, Datatype.BYTES, Datatype.BOOL])
@pytest.mark.parametrize("shape", [(0, 2**62, 2**62), (0, 2**70), (0, -1), (-1, 0), (0,) * 70, (-1, -1)])
def test_a_shape_that_no_array_can_have_is_refused(datatype, shape):
    raw = b"\0" * (datatype.item_bytes or 4) if 0 not in shape else b""
    with pytest.raises(InvalidInput, match="input 'x': shape"):
        from_raw(raw, datatype, shape, name="x")


def test_a_bool_is_0_or_1():
    with pytest.raises(InvalidInput, match="a BOOL byte must be 0 or 1, got 2"):
        from_raw(b"\0\2", Datatype.BOOL, (2,))


def test_text_and_bytes_of_an_element():
    assert text_of("ø".encode()) == text_of("ø") == "ø"
    assert bytes_of(None) == b""
    assert bytes_of(5) == b"5"
    with pytest.raises(InvalidInput, match="not UTF-8"):
        text_of(b"\xff")
    with pytest.raises(InvalidInput, match="lone surrogate at position 1"):
        bytes_of("a\ud800")


@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [
        ("<f4", Datatype.FP32),
        (">f4", Datatype.FP32),
        ("f2", Datatype.FP16),
        ("U3", Datatype.BYTES),
        ("S3", Datatype.BYTES),
        (object, Datatype.BYTES),
    ],
)
def test_the_datatype_of_an_array(dtype, datatype):
    assert datatype_of(np.zeros(2, dtype=dtype)) is datatype


@pytest.mark.parametrize("dtype", ["c8", "M8[s]", "m8[s]", "V4", "g"])
def test_an_array_without_datatype_is_refused(dtype):
    with pytest.raises(InvalidInput, match="has no Open Inference datatype"):
        datatype_of(np.zeros(2, dtype=dtype))


def test_kinds_and_counts():
    assert [datatype for datatype in Datatype if datatype.is_float] == [Datatype.FP16, Datatype.BF16, Datatype.FP32, Datatype.FP64]
    assert sum(datatype.is_integer for datatype in Datatype) == 8
    assert Datatype.BYTES.item_bytes is None
    assert count_of((2**40, 2**40)) == 2**80
    assert count_of(()) == 1
