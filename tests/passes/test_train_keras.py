"""The passes that train Keras models, on digits: weights that learn to be eight bits, and weights that are shared; and what they refuse."""

import shutil
from pathlib import Path

import onnx
import pytest
from tests.frameworks.kit import make
from tests.passes.digits import Digits, optimised, write_digits
from tests.passes.kit import make_pass

from aweigh.core.errors import FileMissing, Unsupported
from aweigh.optimization.passing import PassJob

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    found = write_digits(tmp_path_factory.mktemp("digits"))
    shutil.copyfile(Path(__file__).with_name("digits_keras.py"), found.folder / "digits_keras.py")
    make("tensorflow", "import digits_keras\ndigits_keras.write()", found.folder)
    return found


def job_of(digits: Digits, folder: Path, **more: str) -> PassJob:
    given = {"source": str(digits.folder / "keras.keras"), "factory": "", "train": "digits_keras:train", **more}
    return digits.job("keras", folder, **given)


def test_eight_bits_learnt(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("keras-qat", job_of(digits, tmp_path))
    assert made.precision == "int8"
    assert "3 of 3 layers in eight bits" in made.notes[0]
    assert "4 epochs, 64 steps" in made.notes[1]
    kinds = optimised(made)
    assert kinds.count("QGemm") + kinds.count("QLinearConv") == 3, kinds
    assert digits.accuracy(made) >= digits.before("keras") - 0.02


def test_sixteen_shared_numbers(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("keras-cluster", job_of(digits, tmp_path), "16-numbers")
    assert "tensors of 16 shared numbers" in made.notes[0]
    kinds = [node.op_type for node in onnx.load(made.files["model.onnx"]).graph.node]
    assert kinds.count("Gather") > optimised(made).count("Gather")  # put together as it is loaded
    assert digits.accuracy(made) >= digits.before("keras") - 0.02


def test_refusals(digits: Digits, tmp_path: Path) -> None:
    for name in ("keras-qat", "keras-cluster"):
        with pytest.raises(Unsupported, match=r"the source is no .keras or .h5 file"):
            make_pass(name, job_of(digits, tmp_path / "1", source="model.pt"))
    with pytest.raises(Unsupported, match="the source is a Keras model"):
        make_pass("qat", job_of(digits, tmp_path / "2"))
    with pytest.raises(FileMissing):
        make_pass("keras-cluster", job_of(digits, tmp_path / "3", source=str(tmp_path / "absent.keras")))
