import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput
from aweigh.core.tensorfile import write_tensors
from aweigh.core.tensors import datatype_of
from aweigh.packing.sample import Sample, labels_apart, read_labels, read_sample, write_sample

FRAME = pd.DataFrame({"age": [1.5, np.nan], "count": [1, 2], "city": ["Rome", None], "flag": [True, False]})


def test_every_file_format_reads_as_the_same_frame(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "x.parquet")
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    FRAME.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    (tmp_path / "x.tensors").write_bytes(write_sample(read_sample(FRAME)))
    for name in ("x.parquet", "x.csv", "x.jsonl", "x.tensors"):
        sample = read_sample(tmp_path / name)
        assert sample.form == "frame", name
        assert list(sample.data.columns) == ["age", "count", "city", "flag"]
        assert sample.data["age"].isna().tolist() == [False, True]
        assert sample.data["city"].isna().tolist() == [False, True]
        assert sample.rows == 2


def test_arrays_texts_and_named_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(3))
    assert read_sample(tmp_path / "x.npy").form == "matrix"
    np.savez(tmp_path / "x.npz", a=np.eye(3), b=np.ones((3, 2, 2)))
    assert set(read_sample(tmp_path / "x.npz").data) == {"a", "b"}
    assert read_sample(["some", "texts"]).form == "text"
    assert read_sample([[1, 2], [3, 4]]).data.shape == (2, 2)
    assert read_sample([{"a": 1}, {"a": 2}]).form == "frame"
    sample = read_sample(["texts", "again"])
    (tmp_path / "t.tensors").write_bytes(write_sample(sample))
    assert read_sample(tmp_path / "t.tensors").data.tolist() == ["texts", "again"]


def test_objects_inside_numpy_files_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidFile, match="allow_pickle"):
        read_sample(tmp_path / "x.npy")


def test_bad_files_and_objects_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        read_sample(tmp_path / "absent.csv")
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(InvalidFile, match="empty"):
        read_sample(tmp_path / "x.csv")
    (tmp_path / "x.parquet").write_text("nonsense")
    with pytest.raises(InvalidFile, match="parquet"):
        read_sample(tmp_path / "x.parquet")
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(InvalidFile, match="line 2"):
        read_sample(tmp_path / "x.jsonl")
    (tmp_path / "x.exe").write_text("x")
    with pytest.raises(InvalidFile, match=r"\.exe"):
        read_sample(tmp_path / "x.exe")
    with pytest.raises(InvalidInput, match="no rows"):
        read_sample(pd.DataFrame({"a": []}))
    with pytest.raises(InvalidInput, match="two columns named 'a'"):
        read_sample(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(InvalidInput, match="column 'a', row 1"):
        write_sample(read_sample(pd.DataFrame({"a": ["x", [1]]})))
    with pytest.raises(InvalidInput, match="differ in length"):
        read_sample([[1, 2], [3]])


def test_labels_are_one_column_of_enough_rows() -> None:
    assert read_labels(pd.DataFrame({"y": [1, 0]}), rows=2).tolist() == [1, 0]
    assert read_labels(["yes", "no"], rows=2).tolist() == ["yes", "no"]
    with pytest.raises(InvalidInput, match="2 columns"):
        read_labels(np.eye(2), rows=2)
    for labels in ([1], [1, 0, 1]):
        with pytest.raises(InvalidInput, match=f"the labels have {len(labels)} rows, the sample has 2"):
            read_labels(labels, rows=2)


def test_labels_of_a_sample_that_was_cut_are_those_of_its_first_rows(tmp_path: Path) -> None:
    read = read_sample(scipy.sparse.csr_matrix(np.eye(2500)))
    (tmp_path / "x.tensors").write_bytes(write_sample(read))
    labels = np.arange(2500)
    for sample in (read, read_sample(tmp_path / "x.tensors")):
        assert (sample.rows, sample.given_rows) == (2000, 2500)
        assert read_labels(labels, rows=sample.rows, given_rows=sample.given_rows).tolist() == list(range(2000))
        for wrong in (labels[:2000], labels[:2499]):
            with pytest.raises(InvalidInput, match=f"the labels have {len(wrong)} rows, the sample has 2500"):
                read_labels(wrong, rows=sample.rows, given_rows=sample.given_rows)
    assert read_sample(scipy.sparse.csr_matrix(np.eye(20))).given_rows == 0


@pytest.mark.parametrize(
    "labels", [["yes", None, "no"], [1.0, np.nan, 0.0], [1, None, 0], pd.Series([1, pd.NA, 0], dtype="Int64"), pd.DataFrame({"y": ["a", None, "b"]})]
)  # fmt: skip
def test_a_row_without_a_label_is_named(labels: object) -> None:
    with pytest.raises(InvalidInput, match="row 1 of the labels has none") as caught:
        read_labels(labels, rows=3)
    assert "leave the row out" in caught.value.hint


def test_an_empty_field_of_labels_in_a_file_is_no_class_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "y.csv").write_text("mood,n\ncalm,1\n,2\nstorm,3\n")
    pd.read_csv(tmp_path / "y.csv")[["mood"]].to_csv(tmp_path / "mood.csv", index=False)
    with pytest.raises(InvalidInput, match="row 1 of the labels has none"):
        read_labels(tmp_path / "mood.csv", rows=3)


def test_numpy_files_are_read_as_what_they_are_not_as_they_are_called(tmp_path: Path) -> None:
    np.savez(tmp_path / "several.npz", a=np.eye(3), b=np.ones((3, 2)))
    np.save(tmp_path / "one.npy", np.eye(3))
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    assert set(read_sample(tmp_path / "several.npy").data) == {"a", "b"}
    assert read_sample(tmp_path / "one.npz").data.tolist() == np.eye(3).tolist()


def archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return file.getvalue()


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


WHOLE = saved(a=np.arange(2000.0).reshape(100, 20))


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (WHOLE[: len(WHOLE) // 2], "not a readable"),
        (WHOLE.replace(WHOLE[200:204], b"\xff\xff\xff\xff"), "not a readable"),
        (archive({}), "no array in it"),
        (archive({"a.txt": b"hello"}), "'a.txt' in it is no array"),
        (b"\x93NUMPY\x01\x00\x06\x00(((((\n", "not a readable"),
    ],
    ids=["cut off", "overwritten", "empty", "of other files", "with a header that is none"],
)
def test_damaged_and_empty_archives_are_named(name: str, data: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidFile, match=text) as caught:
        read_sample(tmp_path / name)
    assert name in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("named", [{}, {"matrix": np.eye(2)}, {"matrix/data": np.eye(2), "given/rows": np.zeros(0)}])
def test_tensor_files_that_are_no_samples_are_named(named: dict[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "x.tensors").write_bytes(write_tensors({name: (datatype_of(tensor), tensor) for name, tensor in named.items()}))
    with pytest.raises(InvalidFile, match=r"not a readable \.tensors"):
        read_sample(tmp_path / "x.tensors")


def test_texts_and_bytes_that_end_in_nul_are_kept() -> None:
    assert read_sample([b"a\x00", b"b"]).data.tolist() == [b"a\x00", b"b"]
    assert read_sample([["a\x00", "b"]]).data.tolist() == [["a\x00", "b"]]
    assert read_sample({"f": [[b"a\x00"]], "g": [[1.0]]}).data["f"].tolist() == [[b"a\x00"]]
    assert read_sample([["a", 1]]).data.tolist() == [["a", "1"]]


def test_a_sample_stays_as_it_is() -> None:
    sample = Sample(form="matrix", data=np.eye(2))
    assert read_sample(sample) is sample


def test_labels_may_be_a_column_of_the_sample(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4], "y": ["no", "yes"]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for given in (frame, str(tmp_path / "rows.csv")):
        sample, labels = labels_apart(given, "y")
        assert (list(sample.data.columns), read_labels(labels, rows=2).tolist()) == (["a", "b"], ["no", "yes"])
    with pytest.raises(InvalidInput, match=r"'yy' is neither a file nor a column of rows\.csv") as near:
        labels_apart(tmp_path / "rows.csv", "yy")
    assert near.value.hint == "did you mean 'y'? its columns are: a, b, y"
    with pytest.raises(InvalidInput, match="has no column but 'y'"):
        labels_apart(frame[["y"]], "y")
    with pytest.raises(InvalidInput, match="has no columns with names"):
        labels_apart(np.eye(2), "y")


@pytest.mark.parametrize(("sign", "said"), [(";", "';'"), ("\t", "tabs")])
def test_a_table_that_is_separated_otherwise_says_so(tmp_path: Path, sign: str, said: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"a{sign}b\n1{sign}2\n")
    with pytest.raises(InvalidFile, match=f"the columns are separated by {said}"):
        read_sample(path)
    path.write_text(f"a{sign}b\none text\n")
    assert read_sample(path).rows == 1  # a column of texts with an odd name


@pytest.mark.parametrize("form", ["coo", "dia", "bsr", "lil", "csc", "dok"])
@pytest.mark.parametrize("make", ["matrix", "array"])
def test_every_sparse_form_is_a_matrix(form: str, make: str) -> None:
    made = getattr(scipy.sparse, f"{form}_{make}")(np.eye(4))
    sample = read_sample(made)
    assert sample.form == "matrix"
    assert np.array_equal(sample.data, np.eye(4))


def test_rows_of_a_named_array_that_differ_in_length_are_named() -> None:
    with pytest.raises(InvalidInput, match="the sample's 'x' has rows that differ in length"):
        read_sample({"x": [[1, 2], [3]]})
