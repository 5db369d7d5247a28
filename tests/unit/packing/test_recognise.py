import bz2
import contextlib
import gzip
import importlib
import io
import lzma
import os
import pathlib
import pickle
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from aweigh.core.errors import AweighError, FileMissing, InvalidFile, UnknownFormat
from aweigh.packing.pickles import scan_pickle
from aweigh.packing.recognise import recognise


class Touch:
    """A pickle that would create a file when loaded."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.sentinel),)


WRAPPINGS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


def names_in(data: bytes) -> tuple[str, ...]:
    scan = scan_pickle(data, whole=True)
    assert scan is not None
    return scan.globals


def test_the_imports_of_a_joblib_forest_are_ones_that_there_are() -> None:
    """The names of its columns are an array of objects, which joblib writes as a pickle inside of the pickle."""
    forest = RandomForestClassifier(n_estimators=2, random_state=0).fit(pd.DataFrame({"x": [0.0, 1.0, 2.0]}), ["no", "yes", "no"])
    file = io.BytesIO()
    joblib.dump(forest, file)
    names = names_in(file.getvalue())
    assert "sklearn.ensemble._forest.RandomForestClassifier" in names
    assert "numpy.dtype" in names
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_what_stands_behind_a_pickle_inside_of_a_joblib_file_is_named_too(tmp_path: Path) -> None:
    """And what the inner one would import."""
    file = io.BytesIO()
    joblib.dump([np.array([Touch(tmp_path / "inner")], object), np.array(["a"], object), pathlib.PurePosixPath("x")], file)
    scan = scan_pickle(file.getvalue(), whole=True)
    assert scan is not None
    assert scan.complete
    assert {"posix.mkdir", "pathlib.PurePosixPath"} <= set(scan.globals)
    assert not (tmp_path / "inner").exists()


def test_a_mark_in_the_middle_of_a_pickle_takes_no_name_away() -> None:
    """To the interpreter a second PROTO is nothing: the memo goes on."""
    data = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x80\x04h\x00h\x01\x93."
    assert names_in(data) == ("os.system",)


@pytest.mark.parametrize("suffix", [".pkl", ".onnx", ".bin", ".skops", ".npy", ""])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_a_pickle_whatever_it_is_called(tmp_path: Path, protocol: int, wrapping: str, suffix: str) -> None:
    sentinel, file = tmp_path / "sentinel", tmp_path / f"model{suffix}"
    file.write_bytes(WRAPPINGS[wrapping](pickle.dumps(Touch(sentinel), protocol)))
    found = recognise(file)
    assert found.is_pickle
    assert not sentinel.exists()
    assert found.scan is not None
    assert any(name.endswith(".mkdir") for name in found.scan.globals)


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def numpy_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.eye(2))
    return buffer.getvalue()


KNOWN = {
    "a numpy archive (.npz)": zip_of("a.npy"),
    "a TorchServe archive": zip_of("MAR-INF/MANIFEST.json"),
    "a zip archive": zip_of("readme.txt"),
    "a numpy array": numpy_file(),
    "GGUF": b"GGUF" + b"\0" * 50,
    "XGBoost binary model": b"binf" + b"\0" * 50,
    "a tar archive": b"\0" * 257 + b"ustar\x0000" + b"\0" * 250,
    "tar archive compressed with gzip": gzip.compress(b"\0" * 257 + b"ustar\x0000" + b"\0" * 250),
    "JSON text": b'{"a": 1}',
}


NETWORKS = {
    "torch": zip_of("archive/data.pkl", "archive/version"),
    "torchscript": zip_of("archive/data.pkl", "archive/constants.pkl"),
    "pt2": zip_of("archive/archive_format", "archive/models/model.json"),
    "keras": zip_of("config.json", "model.weights.h5"),
    "keras-h5": b"\x89HDF\r\n\x1a\n" + b"\0" * 50,
    "tflite": b"\x1c\0\0\0TFL3" + b"\0" * 50,
    "safetensors": (30).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}' + b" " * 30,
    "mxnet": b'{"nodes": [{"op": "null", "name": "data"}]}',
}
TREES = {
    "catboost": b"CBM1" + b"\0" * 50,
    "lightgbm": b"tree\nversion=v4\n",
    "xgboost": b'{"learner":{"attributes":{}}}',
    "xgboost ": b"{L\0\0\0\0\0\0\0\x07learner{L",
}


@pytest.mark.parametrize("name", TREES)
def test_tree_libraries_are_told_by_their_content(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.pkl").write_bytes(TREES[name])
    found = recognise(tmp_path / "model.pkl")
    assert found.format == name.strip()
    assert not found.is_pickle


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_told_by_their_content(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.onnx").write_bytes(NETWORKS[name])
    assert recognise(tmp_path / "model.onnx").format == name


@pytest.mark.parametrize("words", KNOWN)
def test_other_formats_are_refused_by_name(tmp_path: Path, words: str) -> None:
    (tmp_path / "model.onnx").write_bytes(KNOWN[words])
    with pytest.raises(UnknownFormat, match="recognised as") as caught:
        recognise(tmp_path / "model.onnx")
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("mark", "name"), [("saved_model.pb", "savedmodel"), ("config.json", "huggingface")])
def test_folders_are_told_by_a_file_in_them(tmp_path: Path, mark: str, name: str) -> None:
    (tmp_path / mark).write_bytes(b"x")
    assert recognise(tmp_path).format == name


def test_a_pointer_of_git_lfs_is_told_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4321\n")
    with pytest.raises(InvalidFile, match=r"Git LFS pointer.*4321 bytes") as caught:
        recognise(tmp_path / "model.onnx")
    assert "git lfs pull" in caught.value.hint


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        recognise(tmp_path / "absent")
    with pytest.raises(InvalidFile):
        recognise(Path("x\0y"))
    with pytest.raises(UnknownFormat, match="folder"):
        recognise(tmp_path)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(InvalidFile, match="empty"):
        recognise(tmp_path / "empty.onnx")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidFile, match="neither"):
        recognise(tmp_path / "pipe")


def test_truncated_files_say_where(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": list(range(300))}, 4)
    (tmp_path / "model.pkl").write_bytes(whole[:-100])
    with pytest.raises(InvalidFile, match=f"truncated: it stops at byte {len(whole) - 100}"):
        recognise(tmp_path / "model.pkl")
    (tmp_path / "model.zip").write_bytes(zip_of("schema.json")[:-10])
    with pytest.raises(InvalidFile, match="truncated zip"):
        recognise(tmp_path / "model.zip")
    # ir_version 9, then a graph that claims 100 bytes and has 3
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09\x3a\x64abc")
    with pytest.raises(InvalidFile, match="at byte 2 claims 100 bytes, 3 are left at byte 7"):
        recognise(tmp_path / "model.onnx")


def test_noise_is_refused_by_a_typed_error_or_taken_for_a_pickle(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for length in (1, 2, 3, 7, 8, 9, 17, 100, 5000):
        for start in (b"", b"\x80\x04", b"\x1f\x8b", b"PK\x03\x04", b"\x78\x9c", b"BZh9", b"\x08\x09", b"("):
            (tmp_path / "noise").write_bytes(start + random.bytes(length))
            with contextlib.suppress(AweighError):
                assert recognise(tmp_path / "noise").is_pickle  # what begins as one needs trust, whatever follows


def test_a_compressed_bomb_is_looked_at_in_part_only(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"\0" * 200_000_000, compresslevel=1))
    with pytest.raises(UnknownFormat, match="compressed with gzip"):
        recognise(tmp_path / "bomb.gz")


def test_a_file_that_is_no_model_is_told_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("import torch\n")
    with pytest.raises(UnknownFormat) as caught:
        recognise(tmp_path / "t.py")
    for name in ("ONNX", "PyTorch", "Keras", "JAX", "MXNet", "Hugging Face", "--class MODULE:FACTORY"):
        assert name in caught.value.hint
