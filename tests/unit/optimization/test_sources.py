"""Passes that begin with the source: what they are given is looked at before any framework is imported, and said in plain words."""

import sys
from pathlib import Path

import numpy as np
import pytest

from aweigh.core.errors import FileMissing, InvalidFile, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensorfile import write_tensors
from aweigh.core.tensors import Datatype
from aweigh.optimization.calibration import input_rows
from aweigh.optimization.making import load_pass
from aweigh.optimization.passes.litert import _cause
from aweigh.optimization.passing import Need, PassJob
from aweigh.optimization.sources import check_source, format_of
from aweigh.packing.frameworks.network import Way
from aweigh.packing.source_forms import _first

FROM_SOURCES = ("coreml", "executorch", "executorch-int8", "litert", "litert-dynamic", "litert-fp16", "litert-int8", "native-trees")


def job(**more: str) -> PassJob:
    spec = TensorSpec(name="x", datatype=Datatype.FP32, shape=(BATCH, 4))
    signature = Signature(inputs=(spec,), outputs=(TensorSpec(name="y", datatype=Datatype.FP32, shape=(BATCH, 2)),))
    return PassJob(variant=Variant(name="onnx", runtime="onnxruntime", precision="fp32"), files={}, signature=signature, folder="", **more)


@pytest.mark.parametrize("name", FROM_SOURCES)
def test_without_a_source_there_is_no_way_and_nothing_is_imported(name: str) -> None:
    found = load_pass(name)
    assert Need.SOURCE in found.declares.needs
    assert found.declares.name == name
    before = set(sys.modules)
    with pytest.raises(Unsupported, match="the package was packed from, and none was given"):
        found.ways(job())
    assert not {"torch", "tensorflow", "executorch", "coremltools"} & (set(sys.modules) - before)


@pytest.mark.parametrize("name", FROM_SOURCES)
def test_a_source_of_another_kind_is_named_with_what_is_wanted(name: str, tmp_path: Path) -> None:
    (tmp_path / "script.sh").write_text("#!/bin/sh\n")
    with pytest.raises(Unsupported):
        load_pass(name).ways(job(source=str(tmp_path / "script.sh")))
    with pytest.raises(FileMissing):
        load_pass(name).ways(job(source=str(tmp_path / "nowhere.pt2")))


def test_the_format_is_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("tree\nversion=v4\n")
    assert format_of(job(source=str(tmp_path / "model.bin"))) == ("lightgbm", "LightGBM text model")
    with pytest.raises(Unsupported, match=r"model\.bin is a LightGBM text model; it begins with a Keras model"):
        check_source(job(source=str(tmp_path / "model.bin")), {"keras"}, "a Keras model")


def test_calibration_rows_by_input(tmp_path: Path) -> None:
    rows = np.ones((3, 4), dtype=np.float32)
    (tmp_path / "rows").write_bytes(write_tensors({"input/x": (Datatype.FP32, rows)}))
    np.testing.assert_array_equal(input_rows(job(calibration=str(tmp_path / "rows")))["x"], rows)
    (tmp_path / "other").write_bytes(write_tensors({"input/z": (Datatype.FP32, rows)}))
    with pytest.raises(InvalidFile, match="no input 'x'"):
        input_rows(job(calibration=str(tmp_path / "other")))


def test_of_several_forms_the_one_with_the_best_ending_and_else_what_each_said(tmp_path: Path) -> None:
    def writes(name: str) -> Way:
        return Way(
            name=name, write=lambda folder: {name: folder / name}, variant=Variant(name="torch", runtime="torch", precision="native")
        )

    def fails(folder: Path) -> dict[str, Path]:
        raise ValueError("a branch on data")

    ways = [writes("model.pt2"), writes("model.pt")]
    for at, (endings, best) in enumerate({(".pt", ".pt2"): "model.pt", (".pt2",): "model.pt2", (): "model.pt2"}.items()):
        folder = tmp_path / str(at)
        folder.mkdir()
        files, _ = _first(iter(ways), folder, endings, "none")
        assert list(files) == [best]
    failing = Way(name="TorchScript", write=fails, variant=Variant(name="torch", runtime="torch", precision="native"))
    (tmp_path / "failing").mkdir()
    with pytest.raises(Unsupported, match="it has none: TorchScript: ValueError: a branch on data"):
        _first(iter([failing]), tmp_path / "failing", (), "it has none")


def test_one_line_of_the_converters_pages() -> None:
    pages = "<unknown>:0: note: loc\n/model.py:3: error: 'tf.Foo' op is neither a custom op nor a flex op\nmore\n"
    assert _cause(ValueError(pages)) == "/model.py:3: error: 'tf.Foo' op is neither a custom op nor a flex op"
    assert "recurrent layer" in _cause(ValueError("tf.TensorListReserve op requires element_shape to be static"))
    assert _cause(ValueError("")) == "ValueError"
