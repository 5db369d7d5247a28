"""Files of rows: what they hold is what a model is asked with, and what they are not is said by their name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aweigh.app.bench_data import Wanted, _expected, _tensors
from aweigh.app.rows import Rows, right_answers
from aweigh.app.tables import read_columns, read_table
from aweigh.core.errors import AweighError, InvalidFile, InvalidInput
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype


def takes(datatype: Datatype, name: str = "k", width: int = 2) -> Signature:
    return Signature(inputs=(TensorSpec(name=name, datatype=datatype, shape=(BATCH, width)),), outputs=())


def test_bytes_in_columns_keep_their_last_nuls() -> None:
    rows = Rows.read({"f": [b"a\x00\x00", b"b"], "n": [1, 2]}, takes(Datatype.FP32))
    assert rows.columns["f"] == [b"a\x00\x00", b"b"]
    assert right_answers(["a", 1], rows) == ["a", 1]


@pytest.mark.parametrize(
    ("values", "datatype"), [([[1.9, 2.2]], Datatype.INT64), ([[np.nan, 1.0]], Datatype.INT32), ([[300, 1]], Datatype.UINT8)]
)
def test_arrays_that_a_model_cannot_take_are_refused_for_every_command(values: object, datatype: Datatype, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", k=np.array(values))
    np.savez(tmp_path / "other.npz", other=np.array(values))
    for ask in (
        lambda: Rows.read(tmp_path / "f.npz", takes(datatype)).tensors(takes(datatype)),
        lambda: Rows.read(tmp_path / "other.npz", takes(datatype)).tensors(takes(datatype)),
        lambda: _tensors(tmp_path / "f.npz", takes(datatype)),
    ):
        with pytest.raises(InvalidInput, match="cannot hold"):
            ask()


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
@pytest.mark.parametrize("kind", ["damaged", "one number", "a number beside columns", "matrices beside columns"])
def test_files_of_arrays_that_are_no_rows_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    path, signature = tmp_path / name, takes(Datatype.FP32)
    with path.open("wb") as file:
        if kind == "damaged":
            file.write(b"PK\x03\x04garbage")
        elif kind == "one number":
            np.save(file, np.array(1.0))
        elif kind == "a number beside columns":
            np.savez(file, a=np.array(1.0), c=np.ones(3))
        else:
            np.savez(file, a=np.ones((3, 2)), b=np.ones((3, 3)), c=np.ones(3))
    for ask in (
        lambda: read_table(path, signature),
        lambda: Rows.read(path, signature).tensors(signature),
        lambda: _tensors(path, signature),
    ):
        with pytest.raises((InvalidFile, InvalidInput)):
            ask()


def test_expected_answers_are_arrays_of_rows_with_names(tmp_path: Path) -> None:
    path = tmp_path / "right.npz"
    for write in (
        lambda: path.write_bytes(b"PK\x03\x04garbage"),
        lambda: np.savez(path, label=np.array(1)),
        lambda: np.savez(path, label=np.array([1, 2])),
        lambda: path.write_bytes((np.save(tmp_path / "one.npy", np.ones(3)), (tmp_path / "one.npy").read_bytes())[1]),
    ):
        write()
        with pytest.raises(AweighError, match=r"right\.npz"):
            _expected(Wanted(expect=str(path)), 3, [])
    np.savez(path, label=np.array([1, 2, 3]))
    assert len(_expected(Wanted(expect=str(path)), 3, [])) == 3


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("k_0,k_0,k_1\n1,2,3\n")
    with pytest.raises(InvalidFile, match="two columns named 'k_0'"):
        read_columns(tmp_path / "d.csv", takes(Datatype.FP32))
    with pytest.raises(InvalidInput, match="two columns named 'k_0'"):
        Rows.read(pd.DataFrame([[1, 2]], columns=["k_0", "k_0"]), takes(Datatype.FP32))


@pytest.mark.parametrize("datatype", [Datatype.FP32, Datatype.INT64])
def test_a_number_with_an_underscore_is_none(datatype: Datatype, tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("k_0,k_1\n1_0,2\n")
    with pytest.raises(InvalidInput, match="row 0: column 'k_0' holds '1_0'"):
        read_columns(tmp_path / "u.csv", takes(datatype))
