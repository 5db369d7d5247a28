"""Half precision: half the size with the same labels, operators whose numbers overflow in float32; bfloat16 is refused where there are no kernels for it."""

from pathlib import Path

import numpy as np
import pytest
from tests.passes.digits_onnx import agreement, beside, job_of, size
from tests.passes.kit import make_pass

from aweigh.core.errors import Unsupported
from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import Device

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_half_precision_halves_a_convolutional_network(tmp_path: Path) -> None:
    job = job_of("cnn", tmp_path)
    made = make_pass("fp16", job)
    assert agreement(job, made) >= 0.99
    assert size(made.files) < 0.6 * size(job.files)


def test_operators_whose_numbers_overflow_stay_in_float(tmp_path: Path) -> None:
    job = job_of("large", tmp_path)
    made = make_pass("fp16", job)
    one, other = beside(job, made)
    assert np.isfinite(other).all()
    np.testing.assert_allclose(other, one, rtol=0.02, atol=0.05)
    assert any("overflow half precision: blown" in note for note in made.notes)


def test_a_graph_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no weights of float32"):
        make_pass("fp16", job_of("plain", tmp_path, calibration=False))


def test_bfloat16_is_refused_with_the_operator_that_has_no_kernel(tmp_path: Path) -> None:
    if [way.name for way in ways_of("bf16", job_of("mlp", tmp_path, calibration=False))] != ["graph"]:
        pytest.fail("this machine has bfloat16: write the test in which it works")
    with pytest.raises(Unsupported, match=r"cannot run this graph in bfloat16 on a processor: .*Gemm") as raised:
        make_pass("bf16", job_of("mlp", tmp_path, calibration=False))
    assert str(tmp_path) not in str(raised.value)


def test_arm_computes_products_in_bfloat16_by_a_switch(tmp_path: Path) -> None:
    job = job_of("mlp", tmp_path, calibration=False, device=Device(features=("asimd", "bf16")))
    made = make_pass("bf16", job)
    assert made.options == {"config:mlas.enable_gemm_fastmath_arm64_bfloat16": "1"}
    assert agreement(job, made) >= 0.99  # elsewhere the switch does nothing
