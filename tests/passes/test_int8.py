"""INT8 by ONNX Runtime: dynamic for products, static for convolutions, with the layers that hurt in float; what it cannot do is refused in words."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.passes.digits_onnx import TOKENS, agreement, beside, job_of, rows, size
from tests.passes.kit import answers, make_pass

from aweigh.core.errors import Unsupported
from aweigh.optimization.making import ways_of
from aweigh.optimization.passing import Device

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("way", ["per-channel", "per-tensor"])
def test_dynamic_keeps_a_multilayer_perceptrons_labels_in_a_third_of_its_size(tmp_path: Path, way: str) -> None:
    job = job_of("mlp", tmp_path)
    made = make_pass("int8-dynamic", job, way)
    assert agreement(job, made) >= 0.99
    assert size(made.files) < 0.5 * size(job.files)
    assert any("products in few bits" in note for note in made.notes)


def test_weights_that_lie_beside_the_graph_are_quantised_too(tmp_path: Path) -> None:
    job = job_of("beside", tmp_path)
    assert len(job.files) == 2
    made = make_pass("int8-dynamic", job)
    assert agreement(job, made) >= 0.99


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-static"])
def test_layers_that_hurt_go_back_to_float_until_the_rows_agree(tmp_path: Path, name: str) -> None:
    job = job_of("outlier", tmp_path)
    made = make_pass(name, job)
    assert agreement(job, made) >= 0.98
    assert any("1 of 3" in note and "stayed in float: layer1" in note for note in made.notes)


def test_dynamic_refuses_a_graph_without_weights(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no product of a matrix with weights"):
        make_pass("int8-dynamic", job_of("plain", tmp_path, calibration=False))


@pytest.mark.parametrize("way", ["minmax", "percentile", "entropy"])
def test_static_keeps_a_convolutional_networks_labels(tmp_path: Path, way: str) -> None:
    job = job_of("cnn", tmp_path)
    made = make_pass("int8-static", job, way)
    assert agreement(job, made) >= 0.98
    assert size(made.files) < 0.5 * size(job.files)
    answered = answers(made, job.signature, {"x": rows()["held"]})[0]
    assert (answered.argmax(axis=1) == rows()["labels"]).mean() > 0.88


def test_static_without_rows_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no calibration rows"):
        ways_of("int8-static", job_of("cnn", tmp_path, calibration=False))


def test_what_was_fused_is_quantised_or_refused_and_never_crashes(tmp_path: Path) -> None:
    job = job_of("encoder", tmp_path, signature=TOKENS)
    fused = make_pass("transformer-fusion", job)
    variant = msgspec.structs.replace(job.variant, files=tuple(fused.files))
    job = msgspec.structs.replace(job, variant=variant, files=fused.files, folder=str(tmp_path / "then"), agreement=0.8)
    made = make_pass("int8-dynamic", job)
    one, other = beside(job, made)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def test_weights_have_seven_bits_where_products_overflow(tmp_path: Path) -> None:
    job = job_of("mlp", tmp_path, device=Device(features=("avx2", "fma")))
    assert ways_of("int8-dynamic", job)[0].choices["reduce_range"] is True
    assert ways_of("int8-static", job_of("mlp", tmp_path, device=Device(features=("avx512_vnni",))))[0].choices["reduce_range"] is False
