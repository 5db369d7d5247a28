"""INT4 weights: a sixth of the size with nearly all labels kept, layers that hurt in float, tables of embeddings with eight bits; shallow weights are refused."""

from pathlib import Path

import pytest
from tests.passes.digits_onnx import agreement, job_of, size
from tests.passes.kit import make_pass

from aweigh.core.errors import Unsupported

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_multilayer_perceptron_keeps_its_labels_in_a_fourth_of_its_size(tmp_path: Path) -> None:
    job = job_of("mlp", tmp_path, agreement=0.97)
    made = make_pass("int4-weights", job)
    assert agreement(job, made) >= 0.95
    assert size(made.files) < 0.3 * size(job.files)
    assert any("3 Gemm were written as MatMul and Add" in note for note in made.notes)


def test_layers_that_hurt_go_back_to_float_until_the_rows_agree(tmp_path: Path) -> None:
    job = job_of("outlier", tmp_path, agreement=0.97)
    made = make_pass("int4-weights", job)
    assert agreement(job, made) >= 0.95
    assert any("1 of 3 products stayed in float: layer1" in note for note in made.notes)


def test_a_graph_without_deep_products_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="32 numbers deep"):
        make_pass("int4-weights", job_of("plain", tmp_path, calibration=False))
