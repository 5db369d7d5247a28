"""Arrays as people give them: no value is changed on the way, and what is no file of arrays is refused by its name."""

from pathlib import Path

import numpy as np
import pytest

from aweigh.core.arrays import UNNAMED, array_of, cast_exactly, read_arrays
from aweigh.core.errors import InvalidFile, InvalidInput


@pytest.mark.parametrize(
    "value", [[b"RIFF\x01\x00\x00"], ["a\x00"], [["a", 1], ["b", 2.5]], ["a", True], [b"\xff", "b"], ["a", None], [[b"x\x00"], [b"y"]]]
)
def test_texts_and_bytes_stay_what_they_are(value: list[object]) -> None:
    assert array_of(value).tolist() == value


def test_one_text_alone_and_arrays_stay_too() -> None:
    assert array_of(b"x\x00").item() == b"x\x00"
    given = np.array(["a", "b"])
    assert array_of(given) is given
    assert array_of([1, 2]).dtype == np.int64
    with pytest.raises(ValueError, match="inhomogeneous"):
        array_of([["a"], ["b", "c"]])


@pytest.mark.parametrize(
    ("values", "given", "taken", "place"),
    [
        ([1.0, 1.9], "f8", "i8", "1.9 at [1]"),
        ([1.0, np.nan], "f4", "i8", "nan at [1]"),
        ([np.inf], "f2", "i8", "inf at [0]"),
        ([2.0**63], "f8", "i8", "at [0]"),
        ([2.0**64], "f4", "u8", "at [0]"),
        ([-1.0], "f8", "u1", "-1.0 at [0]"),
        ([[1, 2], [300, 4]], "i8", "u1", "300 at [1, 0]"),
        ([-1], "i1", "u8", "-1 at [0]"),
        ([2**63 + 5], "u8", "i8", "at [0]"),
        ([0, 1, 2], "i8", "?", "2 at [2]"),
        ([0.5], "f8", "?", "0.5 at [0]"),
        ([1e300], "f8", "f4", "1e+300 at [0]"),
        ([70000], "i8", "f2", "70000 at [0]"),
    ],
)
def test_a_number_that_the_model_cannot_take_is_named(values: object, given: str, taken: str, place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cast_exactly(np.array(values, dtype=given), np.dtype(taken), "x")
    assert place in caught.value.message
    assert "'x'" in caught.value.message


@pytest.mark.parametrize(
    ("values", "given", "taken"),
    [
        ([-3.0, 3.0], "f8", "i1"),
        ([2.0**63], "f8", "u8"),
        ([-(2.0**63)], "f4", "i8"),
        ([2**63 - 1], "u8", "i8"),
        ([0, 1], "u8", "?"),
        ([True, False], "?", "i8"),
        ([True, False], "?", "f4"),
        ([0.1, np.nan, np.inf], "f8", "f4"),
        ([1, 2], ">i4", "i4"),
        ([], "f8", "i8"),
    ],
)
def test_equal_numbers_are_cast(values: list[float], given: str, taken: str) -> None:
    array = np.array(values, dtype=given)
    cast = cast_exactly(array, np.dtype(taken), "x")
    assert cast.dtype == np.dtype(taken)
    np.testing.assert_array_equal(cast, array.astype(taken))


def test_texts_are_no_numbers() -> None:
    assert cast_exactly(np.array(["a"]), np.dtype(object), "x").tolist() == ["a"]
    for array, taken in ((np.array(["1"]), "f4"), (np.array([1]), "O"), (np.array([1], dtype=object), "i8")):
        with pytest.raises(InvalidInput, match="'x' is of"):
            cast_exactly(array, np.dtype(taken), "x")


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_files_are_read_as_what_they_are_or_refused_by_their_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        np.save(file, np.eye(2))
    assert read_arrays(path)[UNNAMED].shape == (2, 2)
    with path.open("wb") as file:
        np.savez(file, a=np.eye(2), b=np.array(1.0))
    assert {key: array.shape for key, array in read_arrays(path).items()} == {"a": (2, 2), "b": ()}
    whole = path.read_bytes()
    for data in (b"PK\x03\x04garbage", b"", b"\x93NUMPY\x01\x00\x06\x00(((((\n", whole[: len(whole) // 2], b"text"):
        path.write_bytes(data)
        with pytest.raises(InvalidFile, match=name):
            read_arrays(path)
    with path.open("wb") as file:
        np.save(file, np.array([{}], dtype=object))
    with pytest.raises(InvalidFile, match="not a readable"):
        read_arrays(path)
