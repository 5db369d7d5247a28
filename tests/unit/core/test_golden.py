from pathlib import Path

import msgspec
import numpy as np
import pytest

from aweigh.core.errors import InvalidFile
from aweigh.core.golden import GoldenAnswers, golden_files, read_golden
from aweigh.core.package import decode_manifest
from aweigh.core.tensorfile import write_tensors

MANIFEST = decode_manifest((Path(__file__).parents[2] / "data/formats/aweigh-1.json").read_bytes())
ANSWERS = GoldenAnswers(
    name="sample",
    why="rows of the sample",
    inputs={"amount": np.array([[1, np.nan]], dtype=np.float32), "country": np.array([[None]], dtype=object)},
    outputs=[np.array([1]), np.array([[0.25, 0.75]], dtype=np.float32)],
)


def test_a_golden_set_survives_its_files(tmp_path):
    cases, files = golden_files(MANIFEST.signature, [ANSWERS])
    assert cases[0].rows == 1
    assert list(files) == [cases[0].file] == ["golden/sample.tensors"]
    (tmp_path / "golden").mkdir()
    (tmp_path / cases[0].file).write_bytes(files[cases[0].file])
    (back,) = read_golden(msgspec.structs.replace(MANIFEST, golden=cases), tmp_path.joinpath)
    assert (back.name, back.why, back.rows) == ("sample", "rows of the sample", 1)
    for name, tensor in ANSWERS.inputs.items():
        np.testing.assert_array_equal(back.inputs[name], tensor)
    for actual, expected in zip(back.outputs, ANSWERS.outputs, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_golden_set_that_does_not_fit_the_signature_is_refused(tmp_path):
    spec = MANIFEST.signature.inputs[0]
    (tmp_path / "golden").mkdir()
    for named in ({}, {f"input/{spec.name}": ("FP64", np.zeros((1, 2)))}):
        data = write_tensors({name: (type(spec.datatype)(kind), tensor) for name, (kind, tensor) in named.items()})
        (tmp_path / "golden/sample.tensors").write_bytes(data)
        with pytest.raises(InvalidFile, match="no FP32 tensor for input 'amount'"):
            read_golden(MANIFEST, tmp_path.joinpath)


def test_the_rows_of_a_scalar_case_are_one():
    scalar = GoldenAnswers(name="s", why="", inputs={"x": np.array(1.0)}, outputs=[])
    assert scalar.rows == 1
