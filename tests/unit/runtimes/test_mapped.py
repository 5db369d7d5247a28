"""Weights laid out for all workers: answered alike, in the file's own pages, made once, and never in the way of loading."""

import threading
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensorfile import write_tensors
from aweigh.core.tensors import Datatype
from aweigh.isolate import Caps
from aweigh.runtimes import mapped
from aweigh.runtimes.mapped import MODEL_FILE, WEIGHTS_FILE, Layout, Mapped, map_weights
from aweigh.runtimes.onnxruntime import OnnxRuntime

SIDE = 1600
SIGNATURE = Signature(
    inputs=(TensorSpec(name="X", datatype=Datatype.FP32, shape=(BATCH, SIDE)),),
    outputs=(TensorSpec(name="Y", datatype=Datatype.FP32, shape=(BATCH, SIDE)),),
)
VARIANT = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("variants/onnx/model.onnx",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of ten million bytes, and a golden case."""
    made = tmp_path_factory.mktemp("mapped")
    weights = np.random.default_rng(3).normal(scale=0.02, size=(SIDE, SIDE)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["X", "W"], ["Y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE]) for name in ("X", "Y")]
    graph = helper.make_graph(nodes, "wide", values[:1], values[1:], [numpy_helper.from_array(weights, "W")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), made / "model.onnx")
    rows = np.ones((2, SIDE), np.float32)
    (made / "golden").write_bytes(write_tensors({"input/X": (Datatype.FP32, rows), "output/Y": (Datatype.FP32, rows @ weights)}))
    return made


def mapped_in(folder: Path, cache: Path, *, entry: str = "model.onnx") -> Mapped:
    return map_weights(
        VARIANT, SIGNATURE, lambda _: folder / entry, cache=cache, inputs=folder / "golden", session_threads=1, caps=Caps(timeout_s=60)
    )


def answer(made: Mapped) -> np.ndarray:
    session = OnnxRuntime().load(made.variant, SIGNATURE, made.path)
    rows = np.random.default_rng(5).normal(size=(3, SIDE)).astype(np.float32)
    try:
        return np.asarray(session.run({"X": rows})[0])
    finally:
        session.close()


def test_laid_out_weights_answer_alike_are_shared_and_say_what_that_costs(folder: Path, tmp_path: Path) -> None:
    made = mapped_in(folder, tmp_path)
    assert made.variant.files == (MODEL_FILE, WEIGHTS_FILE)
    plain = Mapped(variant=VARIANT, path=lambda _: folder / "model.onnx", note="")
    assert np.array_equal(answer(made), answer(plain))
    assert made.path(WEIGHTS_FILE).stat().st_size >= 4 * SIDE * SIDE
    assert made.note.startswith("shared: ")
    assert "with weights of its own" in made.note
    layout = msgspec.json.decode((made.path(MODEL_FILE).parent / "layout.json").read_bytes(), type=Layout)
    assert layout.private_bytes < layout.weights_bytes / 4
    assert layout.own_us > 0 < layout.shared_us


def test_it_is_laid_out_once_also_when_many_ask_at_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    real = mapped.call

    def counted(*words: object, **named: object) -> object:
        calls.append(words)
        return real(*words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(mapped, "call", counted)
    notes: list[str] = []
    threads = [threading.Thread(target=lambda: notes.append(mapped_in(folder, tmp_path).note)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(calls) == 1
    assert len(set(notes)) == 1
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("new-")] == []


def test_what_cannot_be_laid_out_is_loaded_as_it_is_and_the_reason_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (folder / "damaged.onnx").write_bytes((folder / "model.onnx").read_bytes()[:1000])
    made = mapped_in(folder, tmp_path / "damaged", entry="damaged.onnx")
    assert made.variant is VARIANT
    assert made.note.startswith("private to each process: ")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    made = mapped_in(folder, blocked)
    assert (made.variant, made.path("any")) == (VARIANT, folder / "model.onnx")


def test_a_layout_that_lost_a_file_is_made_anew(folder: Path, tmp_path: Path) -> None:
    first = mapped_in(folder, tmp_path)
    first.path(WEIGHTS_FILE).unlink()
    assert answer(mapped_in(folder, tmp_path)).shape == (3, SIDE)
