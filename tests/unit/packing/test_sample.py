from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput
from aweigh.packing.sample import Sample, read_labels, read_sample, write_sample

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
    assert read_labels(np.array([1, 0, 1]), rows=2).tolist() == [1, 0]
    assert read_labels(["yes", "no"], rows=2).tolist() == ["yes", "no"]
    with pytest.raises(InvalidInput, match="2 columns"):
        read_labels(np.eye(2), rows=2)
    with pytest.raises(InvalidInput, match="1 rows"):
        read_labels([1], rows=2)


def test_a_sample_stays_as_it_is() -> None:
    sample = Sample(form="matrix", data=np.eye(2))
    assert read_sample(sample) is sample
