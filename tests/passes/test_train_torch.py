"""The passes that train PyTorch modules, on digits: units taken out, weights held at zero or shared, students; and what each of them refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from tests.passes.digits import Digits, optimised, trained_digits
from tests.passes.kit import make_pass

from aweigh.core.errors import InvalidInput, MissingLibrary, Refused, Unsupported
from aweigh.optimization.passing import Made

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return trained_digits(tmp_path_factory.mktemp("digits"), "mlp", "cnn", "recurrent", "thin")


def test_an_mlp_with_a_quarter_of_its_units(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("prune-structured", digits.job("mlp", tmp_path), "quarter")
    assert "first 256 -> 64, second 256 -> 64" in made.notes[0]
    assert "epochs" in made.notes[1]
    assert Path(made.files["model.onnx"]).stat().st_size < 60_000
    assert digits.accuracy(made) >= digits.before("mlp") - 0.015
    session = onnxruntime.InferenceSession(made.files["model.onnx"])
    assert session.run(None, {"pixels": np.zeros((1, 64), np.float32)})[0].shape == (1, 10)  # of any number of rows


def test_a_cnn_with_half_its_channels(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("prune-structured", digits.job("cnn", tmp_path), "half")
    assert "stem.0 + inner.3 16 -> 8" in made.notes[0], made.notes  # what is added together stays as wide
    assert "inner.0 32 -> 16" in made.notes[0]
    assert "last.0 32 -> 16" in made.notes[0]
    assert digits.accuracy(made) >= digits.before("cnn") - 0.02


@pytest.mark.parametrize("train", ["train_averaged", "train_wrapped"])
def test_a_module_that_wraps_the_one_that_was_given_is_cut_again(train: str, digits: Digits, tmp_path: Path) -> None:
    made = make_pass("prune-structured", digits.job("mlp", tmp_path, train=f"digits_training:{train}"), "eighth")
    assert "first 256 -> 32, second 256 -> 32" in made.notes[0]
    assert len(made.notes) == 4  # and how the three trainings went
    assert digits.accuracy(made) >= digits.before("mlp") - 0.05


def test_a_depthwise_convolution_of_which_one_channel_is_left(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("prune-structured", digits.job("thin", tmp_path), "eighth")
    assert "stem 4 -> 1" in made.notes[0]
    assert "point 32 -> 8" in made.notes[0]


def test_stages_have_one_deadline_and_load_the_data_once(digits: Digits, tmp_path: Path) -> None:
    (digits.folder / "digits_slow.py").write_text(
        """
import time
from pathlib import Path

import digits_training

SEEN = Path(__file__).with_name("slow.txt")
BEGAN = time.monotonic()


def data(rows):
    time.sleep(6)
    with SEEN.open("a") as file:
        print("data", file=file)


def train(model, callbacks, data):
    with SEEN.open("a") as file:
        print(callbacks.deadline - BEGAN, file=file)
    digits_training.train_briefly(model, callbacks, data)
"""
    )
    make_pass("prune-structured", digits.job("mlp", tmp_path, train="digits_slow:train", time_s=20.0), "eighth")
    loaded, *deadlines = (digits.folder / "slow.txt").read_text().split()
    assert loaded == "data"
    first, second, last = map(float, deadlines)
    assert first < second < last <= 17.0
    assert last > 16.0  # all that is left, although the stages before took less than they were given


def test_what_is_given_back_must_be_the_model(digits: Digits, tmp_path: Path) -> None:
    for at, (train, said) in enumerate(
        {
            "train_scaled": "returns a Around that does more than the model it was given",
            "train_another": "returns a Small whose layers are not those of the model it was given",
            "train_in_place_of": "puts other parameters in the place of the model's own",
        }.items()
    ):
        with pytest.raises(InvalidInput, match=said):
            make_pass("prune-unstructured", digits.job("mlp", tmp_path / str(at), train=f"digits_training:{train}"))


def test_what_cannot_be_cut_and_code_that_does_not_go_along(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no units of this model can be taken out"):
        make_pass("prune-structured", digits.job("recurrent", tmp_path / "1"))
    with pytest.raises(Refused, match="not the package's model"):
        make_pass("prune-structured", digits.job("mlp", tmp_path / "2", source="", factory="digits_training:Mlp"))
    with pytest.raises(InvalidInput, match=r"failed at .*digits_training.py:\d+: KeyError: 'colour'"):
        make_pass("prune-structured", digits.job("mlp", tmp_path / "3", train="digits_training:broken"))
    with pytest.raises(InvalidInput, match=r"never called callbacks.step"):
        make_pass("prune-structured", digits.job("mlp", tmp_path / "4", train="digits_training:silent"))
    with pytest.raises(MissingLibrary, match="no module 'absent'"):
        make_pass("prune-structured", digits.job("mlp", tmp_path / "5", train="absent:train"))
    with pytest.raises(Unsupported, match="with your own code"):
        make_pass("prune-structured", digits.job("mlp", tmp_path / "6", train=""))


@pytest.mark.parametrize("name", ["prune-unstructured", "prune-2-4", "cluster-weights"])
def test_an_average_that_is_given_back_is_treated_too(name: str, digits: Digits, tmp_path: Path) -> None:
    made = make_pass(name, digits.job("mlp", tmp_path, train="digits_training:train_averaged"))
    every = [numpy_helper.to_array(tensor) for tensor in onnx.load(made.files["model.onnx"]).graph.initializer]
    if name == "cluster-weights":
        assert "3 tensors of 16 shared numbers" in made.notes[0]
    else:
        large = np.concatenate([each.ravel() for each in every if each.ndim == 2])
        assert (large == 0).mean() == pytest.approx(0.8 if name == "prune-unstructured" else 0.5, abs=0.01)
    assert digits.accuracy(made) >= digits.before("mlp") - 0.02


def matrices(made: Made) -> list[np.ndarray[Any, Any]]:
    found = [numpy_helper.to_array(tensor) for tensor in onnx.load(made.files["model.onnx"]).graph.initializer]
    return [each for each in found if each.ndim == 2]


def test_nine_of_ten_weights_are_zero(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("prune-unstructured", digits.job("mlp", tmp_path), "90-percent")
    assert "90% of the weights are zero: no runtime is faster" in made.notes[0]
    assert "compressed" in made.notes[0]
    every = np.concatenate([each.ravel() for each in matrices(made)])
    assert 0.88 < (every == 0).mean() < 0.92
    assert digits.accuracy(made) >= digits.before("mlp") - 0.02


def test_two_of_every_four(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("prune-2-4", digits.job("mlp", tmp_path))
    assert "nowhere else" in made.notes[0]
    for matrix in matrices(made):
        rows = matrix if matrix.shape[1] % 4 == 0 and matrix.shape[0] in {10, 256} and matrix.shape[1] in {64, 256} else matrix.T
        assert ((rows.reshape(-1, 4) != 0).sum(1) <= 2).all()
    assert digits.accuracy(made) >= digits.before("mlp") - 0.015


def test_sixteen_shared_numbers(digits: Digits, tmp_path: Path) -> None:
    made = make_pass("cluster-weights", digits.job("mlp", tmp_path))
    assert "3 tensors of 16 shared numbers" in made.notes[0]
    assert Path(made.files["model.onnx"]).stat().st_size < 60_000  # 340 kB as it was
    assert digits.accuracy(made) >= digits.before("mlp") - 0.015


def test_a_student(digits: Digits, tmp_path: Path) -> None:
    job = digits.job("mlp", tmp_path, student="digits_training:Small")
    try:
        made = make_pass("distil", job)
    except Unsupported as error:
        assert "as much without the teacher (best metric: taught" in error.message  # noqa: PT017  # which of the two is chance, on data this small
    else:
        assert "best metric: taught" in made.notes[0]
        assert digits.accuracy(made) > 0.9


def test_what_a_teacher_and_masks_need(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="teaches a smaller model"):
        make_pass("distil", digits.job("mlp", tmp_path / "1"))
    with pytest.raises(InvalidInput, match=r"never called callbacks.loss"):
        make_pass("distil", digits.job("mlp", tmp_path / "2", student="digits_training:Small", train="digits_training:untaught"))
    for name in ("prune-unstructured", "prune-2-4", "cluster-weights"):
        with pytest.raises(Unsupported, match="it trains, with your own code"):
            make_pass(name, digits.job("mlp", tmp_path / "3", train=""))


@pytest.mark.parametrize(("kind", "layers", "least"), [("mlp", 3, 0.015), ("cnn", 6, 0.03)])
def test_eight_bits_learnt(kind: str, layers: int, least: float, digits: Digits, tmp_path: Path) -> None:
    made = make_pass("qat", digits.job(kind, tmp_path, train="digits_training:train_briefly"))
    assert made.precision == "int8"
    assert f"{layers} layers in eight bits" in made.notes[0]
    kinds = optimised(made)
    assert kinds.count("QGemm") + kinds.count("QLinearConv") == layers, kinds
    assert digits.accuracy(made) >= digits.before(kind) - least
