"""Rewrites with the same answers: cleaned up, fused, ONNX Runtime's own format, other options of its session; each refused where it has nothing to do."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.passes.digits_onnx import TOKENS, beside, job_of
from tests.passes.kit import make_pass

from aweigh.core.errors import Unsupported
from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import Device, PassJob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def same(job: PassJob, made: object) -> None:
    one, other = beside(job, made)  # type: ignore[arg-type]
    np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def test_clean_up_leaves_fewer_operators_and_the_same_answers(tmp_path: Path) -> None:
    job = job_of("encoder", tmp_path, signature=TOKENS, calibration=False)
    made = make_pass("onnxslim", job)
    same(job, made)
    before, after = (int(word) for word in made.notes[0].split() if word.isdigit())
    assert after < before


def test_a_clean_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="nothing to clean up"):
        make_pass("onnxslim", job_of("plain", tmp_path, calibration=False))


def test_gelu_and_normalisation_are_fused(tmp_path: Path) -> None:
    job = job_of("encoder", tmp_path, signature=TOKENS, calibration=False)
    made = make_pass("transformer-fusion", job)
    same(job, made)
    assert "Gelu" in made.notes[0]
    assert "LayerNormalization" in made.notes[0]


def test_what_is_no_transformer_is_not_fused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no transformer"):
        make_pass("transformer-fusion", job_of("cnn", tmp_path, calibration=False))


@pytest.mark.parametrize("way", ["this-machine", "portable"])
def test_the_runtimes_own_format_is_loaded_under_any_name(tmp_path: Path, way: str) -> None:
    job = job_of("cnn", tmp_path, calibration=False)
    made = make_pass("ort-format", job, way)
    stored = tmp_path / "0123abcd"  # as a store keeps it
    stored.write_bytes(Path(made.files["model.ort"]).read_bytes())
    same(job, msgspec.structs.replace(made, files={**made.files, "model.ort": str(stored)}))
    operators = Path(made.files["required_operators.config"]).read_text(encoding="utf-8")
    assert "Conv" in operators
    assert str(tmp_path) not in operators


def test_a_file_of_that_format_is_not_written_again(tmp_path: Path) -> None:
    job = job_of("mlp", tmp_path, calibration=False)
    made = make_pass("ort-format", job)
    variant = msgspec.structs.replace(job.variant, files=tuple(made.files))
    with pytest.raises(Unsupported, match="already"):
        make_pass("ort-format", msgspec.structs.replace(job, variant=variant, files=made.files))
    with pytest.raises(Unsupported, match="nothing but ONNX Runtime reads"):
        make_pass("int8-dynamic", msgspec.structs.replace(job, variant=variant, files=made.files))


def test_a_session_has_threads_where_the_device_has_them(tmp_path: Path) -> None:
    job = job_of("mlp", tmp_path, calibration=False, device=Device(threads=2))
    assert [way.name for way in ways_of("onnxruntime-session", job)] == ["threads-2", "threads-2-spinning", "arena", "flush-denormals"]
    for way in ways_of("onnxruntime-session", job):
        same(job, make_pass("onnxruntime-session", job, way.name))


def test_a_session_that_has_everything_is_refused(tmp_path: Path) -> None:
    job = job_of("mlp", tmp_path, calibration=False)
    options = {"arena": True, "config:session.set_denormal_as_zero": "1"}
    with pytest.raises(Unsupported, match="already"):
        ways_of("onnxruntime-session", msgspec.structs.replace(job, variant=msgspec.structs.replace(job.variant, options=options)))
