"""OpenVINO and NNCF: digits as drawn convolutions and as drawn attention, quantised on rows that are not those that judge."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.frameworks.kit import make
from tests.passes.kit import answers, make_pass, signature_of, write_calibration
from tests.passes.openvino_models import write_models

from aweigh.core.errors import Unsupported
from aweigh.core.machine import machine
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import Device, Made, PassJob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SHAPES = {"convolution": [1, 8, 8], "attention": [8, 8], "loud": [1, 8, 8], "strange": [4], "plain": [4]}
VNNI = Device(features=("avx2", "avx512_vnni"))
AVX2 = Device(features=("avx2",))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


def signature(kind: str) -> Signature:
    return signature_of({"image": SHAPES[kind]}, {"scores": [1 if kind == "plain" else 4 if kind == "strange" else 10]})


def rows(models: Path, kind: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    with np.load(models / f"{kind}.npz") as found:
        return found["rows"], found["answers"]


def job(models: Path, kind: str, folder: Path, *, calibrated: int = 0, **more: Any) -> PassJob:
    calibration = ""
    if calibrated:
        image, scores = rows(models, kind)
        calibration = write_calibration(folder / "rows", {"image": image[:calibrated]}, {"scores": scores[:calibrated]})
    made = PassJob(
        variant=Variant(name="onnx", runtime="onnxruntime", precision="fp32", files=("variants/onnx/model.onnx",)),
        files={"variants/onnx/model.onnx": str(models / f"{kind}.onnx")},
        signature=signature(kind),
        folder=str(folder / "made"),
        calibration=calibration,
        time_s=120.0,
    )
    return msgspec.structs.replace(made, **more)


def agreement(models: Path, kind: str, made: Made) -> float:
    """On rows that no pass has seen."""
    image, scores = rows(models, kind)
    (given,) = answers(made, signature(kind), {"image": image[-400:]})
    return float((given.argmax(1) == scores[-400:].argmax(1)).mean())


@pytest.mark.parametrize("kind", ["convolution", "attention"])
def test_the_graph_as_openvinos_files_answers_alike_at_every_batch_size(models: Path, tmp_path: Path, kind: str) -> None:
    made = make_pass("openvino", job(models, kind, tmp_path))
    assert (made.runtime, made.precision, tuple(made.files), made.options) == (
        "openvino",
        "fp32",
        ("model.xml", "model.bin"),
        {"nan_rows": "nan", "infinite_rows": "nan"},
    )
    assert [line.partition("==")[0] for line in made.environment] == ["openvino", "numpy"]
    image, scores = rows(models, kind)
    for count in (1, 13):
        (given,) = answers(made, signature(kind), {"image": image[:count]})
        np.testing.assert_allclose(given, scores[:count], rtol=1e-4, atol=1e-4)


def test_rows_of_nan_and_infinities_are_answered_as_onnx_runtime_answers_them(models: Path, tmp_path: Path) -> None:
    made = make_pass("openvino", job(models, "convolution", tmp_path))
    onnx = Made(runtime="onnxruntime", precision="fp32", files={"model.onnx": str(models / "convolution.onnx")})
    image = rows(models, "convolution")[0][:3].copy()
    image[0, 0, 4, 4], image[1, 0, 4, 4] = np.nan, -np.inf
    (expected,) = answers(onnx, signature("convolution"), {"image": image})
    (given,) = answers(made, signature("convolution"), {"image": image})
    assert np.isnan(expected).any(axis=1).tolist() == [True, True, False]
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)


def test_what_openvino_cannot_take_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"no way through OpenVINO: .*Strange"):
        make_pass("openvino", job(models, "strange", tmp_path))
    text = Signature(
        inputs=(TensorSpec(name="text", datatype=Datatype.BYTES, shape=(BATCH,)),),
        outputs=(TensorSpec(name="scores", datatype=Datatype.FP32, shape=(BATCH, 4)),),
    )
    with pytest.raises(Unsupported, match="'text' is text, which has no way through OpenVINO"):
        ways_of("openvino", job(models, "strange", tmp_path, signature=text))
    other = Variant(name="ort", runtime="onnxruntime", precision="fp32", files=("variants/ort/model.ort",))
    with pytest.raises(Unsupported, match="OpenVINO reads ONNX files"):
        ways_of("nncf-weights", job(models, "strange", tmp_path, variant=other))


def test_bfloat16_needs_a_processor_that_has_it(models: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"no instructions for bfloat16 \(amx_bf16 or avx512_bf16\)"):
        ways_of("openvino-bf16", job(models, "convolution", tmp_path, device=AVX2))
    device = Device(features=("avx2", "avx512_bf16"))
    made = make_pass("openvino-bf16", job(models, "convolution", tmp_path, device=device))
    assert (made.precision, made.options) == ("bf16", {"inference_precision": "bf16"})
    if "avx512_bf16" in machine().features:
        assert agreement(models, "convolution", made) > 0.97
    else:
        with pytest.raises(Unsupported, match="is to compute in bf16, and OpenVINO computes in f32"):
            agreement(models, "convolution", made)


@pytest.mark.parametrize("kind", ["convolution", "attention"])
@pytest.mark.parametrize(("way", "device"), [("mixed", VNNI), ("performance", AVX2)])
def test_int8_by_nncf_agrees(models: Path, tmp_path: Path, kind: str, way: str, device: Device) -> None:
    made = make_pass("nncf-int8", job(models, kind, tmp_path, calibrated=100, device=device), way)
    assert (made.runtime, made.precision, made.options) == ("openvino", "int8", {})
    assert "in INT8" in made.notes[0]
    assert "ranges of 100 calibration rows" in made.notes[0]
    assert agreement(models, kind, made) > 0.95


def test_int8_by_nncf_needs_rows_and_something_to_quantise(models: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no calibration rows"):
        ways_of("nncf-int8", job(models, "convolution", tmp_path))
    variant = Variant(name="eight", runtime="onnxruntime", precision="int8", files=("model.onnx",))
    with pytest.raises(Unsupported, match="int8 already"):
        ways_of("nncf-int8", job(models, "convolution", tmp_path, calibrated=10, variant=variant))
    rows_of_four = write_calibration(tmp_path / "four", {"image": np.ones((30, 4), np.float32)}, {"scores": np.ones((30, 1), np.float32)})
    with pytest.raises(Unsupported, match="no product or convolution that NNCF quantises"):
        make_pass("nncf-int8", job(models, "plain", tmp_path, calibration=rows_of_four))


def test_accuracy_control_keeps_what_is_asked(models: Path, tmp_path: Path) -> None:
    made = make_pass("nncf-int8-accuracy", job(models, "attention", tmp_path, calibrated=200, agreement=0.97))
    assert any("agreement of" in note and "on 100 further rows" in note for note in made.notes)
    assert agreement(models, "attention", made) > 0.95


def test_accuracy_control_gives_back_to_float_what_hurts(models: Path, tmp_path: Path) -> None:
    """Behind the loud channel nothing but that channel is left in eight bits: the convolution that takes it goes back; for every answer the first one does too."""
    for share, floats, kept in ((0.97, 1, 0.97), (0.999, 2, 1.0)):
        made = make_pass("nncf-int8-accuracy", job(models, "loud", tmp_path, calibrated=200, agreement=share))
        assert f"{3 - floats} of 3 products and convolutions in INT8; {floats} stayed in float" in made.notes[0]
        assert float(made.notes[1].split()[2]) >= kept
        assert agreement(models, "loud", made) > 0.95


def test_accuracy_control_refuses_what_no_mix_keeps(models: Path, tmp_path: Path) -> None:
    image, scores = rows(models, "convolution")
    wrong = write_calibration(tmp_path / "wrong", {"image": image[:60]}, {"scores": scores[60:120]})
    with pytest.raises(Unsupported, match=r"no mix of INT8 and float keeps agreement of 0\.99"):
        make_pass("nncf-int8-accuracy", job(models, "convolution", tmp_path, calibration=wrong))
    with pytest.raises(Unsupported, match="10 calibration rows are too few to judge by: 40 are needed"):
        make_pass("nncf-int8-accuracy", job(models, "convolution", tmp_path, calibrated=10))


@pytest.mark.parametrize(("way", "bits", "agrees"), [("int8", 8, 0.99), ("int4", 4, 0.9), ("int4-fine", 4, 0.9)])
def test_weights_of_fewer_bits(models: Path, tmp_path: Path, way: str, bits: int, agrees: float) -> None:
    made = make_pass("nncf-weights", job(models, "attention", tmp_path), way)
    assert made.precision == f"int{bits}"
    assert f"of {bits} bits" in made.notes[0]
    assert Path(made.files["model.bin"]).stat().st_size < 0.5 * (models / "attention.onnx").stat().st_size
    assert agreement(models, "attention", made) > agrees


def test_a_graph_without_weights_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no weights that NNCF takes to 8 bits"):
        make_pass("nncf-weights", job(models, "plain", tmp_path))


def test_nncf_reports_nothing_and_writes_nothing_beside_the_job(models: Path, tmp_path: Path) -> None:
    script = """
    import os, pathlib
    folder = pathlib.Path.cwd()
    for name in ("home", "here"):
        (folder / name).mkdir()
    os.environ["HOME"] = str(folder / "home")
    os.chdir(folder / "here")

    import msgspec
    from aweigh.optimization.irs.eight import quantised
    from aweigh.optimization.passing import PassJob
    quantised(msgspec.json.decode((folder / "job.json").read_bytes(), type=PassJob))
    import nncf.telemetry
    try:
        import openvino_telemetry
    except ImportError:
        found = sorted(str(path) for name in ("home", "here") for path in (folder / name).iterdir())
        (folder / "said").write_text(f"{type(nncf.telemetry.telemetry).__name__} {found}")
    """
    asked = job(models, "convolution", tmp_path, calibrated=20)
    Path(asked.folder).mkdir()
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(asked, way=ways_of("nncf-int8", asked)[0])))
    assert (make("optimize", script, tmp_path) / "said").read_text() == "MagicMock []"
