"""Passes for graphics cards: refused where there is none, and what can be made without one is made."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.passes.kit import answers, signature_of, write_calibration
from tests.passes.openvino_models import write_models

from aweigh.core.errors import Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.optimization.engines import engine_options
from aweigh.optimization.graphics import Card, cards
from aweigh.optimization.making import ways_of
from aweigh.optimization.passes.cuda import Cuda
from aweigh.optimization.passes.graphics_needs import Graphics, There
from aweigh.optimization.passes.tensorrt import TensorRt
from aweigh.optimization.passing import Made, PassJob

VARIANT = Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("variants/onnx/model.onnx",))
JOB = PassJob(variant=VARIANT, files={}, signature=signature_of({"image": [8, 8]}, {"scores": [10]}), folder="")
HOPPER = Card(name="NVIDIA H100", capability=(9, 0))
TURING = Card(name="NVIDIA T4", capability=(7, 5))


class Somewhere(Graphics):
    """A machine with these cards and this ONNX Runtime."""

    def __init__(self, found: Sequence[Card], *, library: bool = True) -> None:
        self._found, self._library = found, library

    def cards(self) -> Sequence[Card]:
        return self._found

    def providers(self) -> There:
        return dict.fromkeys(("cuda", "tensorrt"), (self._library, "install onnxruntime-gpu in place of onnxruntime"))


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_without_a_card_they_are_refused(name: str) -> None:
    if cards():
        pytest.skip("there is an NVIDIA GPU here")
    with pytest.raises(Unsupported, match="no NVIDIA GPU here"):
        ways_of(name, JOB)


@pytest.mark.parametrize(("make_pass", "name"), [(Cuda, "cuda"), (TensorRt, "tensorrt")])
def test_with_a_card_they_need_the_library_that_uses_it(make_pass: type[Cuda | TensorRt], name: str) -> None:
    with pytest.raises(Unsupported, match=f"no execution provider '{name}'") as caught:
        make_pass(Somewhere([HOPPER], library=False)).ways(JOB)
    assert caught.value.hint == "install onnxruntime-gpu in place of onnxruntime"
    taken = msgspec.structs.replace(JOB, variant=msgspec.structs.replace(VARIANT, options={"providers": "cuda"}))
    with pytest.raises(Unsupported, match="runs by 'cuda' already"):
        make_pass(Somewhere([HOPPER])).ways(taken)


def test_the_ways_that_a_card_has() -> None:
    assert [way.name for way in Cuda(Somewhere([TURING])).ways(JOB)] == ["", "channels-last"]
    calibrated = msgspec.structs.replace(JOB, calibration="rows")
    assert [way.name for way in TensorRt(Somewhere([TURING])).ways(calibrated)] == ["fp16", "fp32"]
    assert [way.name for way in TensorRt(Somewhere([HOPPER])).ways(calibrated)] == ["fp16", "fp8", "fp32"]
    assert [way.name for way in TensorRt(Somewhere([HOPPER])).ways(JOB)] == ["fp16", "fp32"]


def test_a_variant_on_a_card_keeps_its_file_and_options() -> None:
    job = msgspec.structs.replace(JOB, files={"variants/onnx/model.onnx": "/somewhere/model.onnx"})
    made = Cuda(Somewhere([HOPPER])).make(msgspec.structs.replace(job, way=Cuda(Somewhere([HOPPER])).ways(job)[1]))
    assert made.files == {"model.onnx": "/somewhere/model.onnx"}
    assert made.options == {"providers": "cuda", "provider:prefer_nhwc": "1"}


def test_an_engine_is_built_for_the_sizes_that_will_come(tmp_path: Path) -> None:
    inputs = tuple(TensorSpec(name=name, datatype=Datatype.FP32, shape=(BATCH, "tokens")) for name in ("ids", "mask"))
    signature = Signature(inputs=inputs, outputs=(TensorSpec(name="scores", datatype=Datatype.FP32, shape=(BATCH, 2)),))
    rows = np.ones((5, 40), np.float32)
    calibration = write_calibration(tmp_path / "rows", {"ids": rows, "mask": rows}, {"scores": rows[:, :2]})
    job = msgspec.structs.replace(JOB, signature=signature, calibration=calibration)
    assert engine_options(job, "fp16") == {
        "providers": "tensorrt,cuda",
        "provider:trt_fp16_enable": "1",
        "provider:trt_profile_min_shapes": "ids:1x1,mask:1x1",
        "provider:trt_profile_opt_shapes": "ids:8x40,mask:8x40",
        "provider:trt_profile_max_shapes": "ids:256x512,mask:256x512",
    }
    fixed = Signature(inputs=(TensorSpec(name="ids", datatype=Datatype.FP32, shape=(4, 40)),), outputs=signature.outputs)
    assert engine_options(msgspec.structs.replace(job, signature=fixed), "fp32") == {"providers": "tensorrt,cuda"}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_floats_of_eight_bits_answer_nearly_alike(tmp_path: Path) -> None:
    """The graph that TensorRT would be given, on a processor."""
    models = write_models(tmp_path)
    with np.load(models / "attention.npz") as found:
        image, scores = found["rows"], found["answers"]
    job = msgspec.structs.replace(
        JOB,
        files={VARIANT.files[0]: str(models / "attention.onnx")},
        folder=str(tmp_path / "made"),
        calibration=write_calibration(tmp_path / "rows", {"image": image[:100]}, {"scores": scores[:100]}),
    )
    Path(job.folder).mkdir()
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    script = """
    import pathlib, msgspec
    from aweigh.optimization.graphs.floats_of_eight import lowered
    from aweigh.optimization.passing import PassJob
    pathlib.Path("said").write_text(lowered(msgspec.json.decode(pathlib.Path("job.json").read_bytes(), type=PassJob)))
    """
    file = (make("optimize", script, tmp_path) / "said").read_text()
    made = Made(runtime="onnxruntime", precision="fp8", files={"model.onnx": file}, options={"graph_optimization_level": "disabled"})
    (given,) = answers(made, job.signature, {"image": image[-400:]})
    assert (given.argmax(1) == scores[-400:].argmax(1)).mean() > 0.9
    assert np.abs(given - scores[-400:]).max() > 1e-4  # fewer bits, for true
