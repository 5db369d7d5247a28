"""The hook for a person's training code, and shared numbers: what needs no framework."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aweigh.core.errors import InvalidInput, MissingLibrary, Unsupported
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.optimization.making import all_passes
from aweigh.optimization.passing import Kind, PassJob
from aweigh.optimization.training.clusters import centres_of, means, nearest
from aweigh.optimization.training.hook import Callbacks, Rows, StopTraining, Treatment, called, data_of, far, named, without_passes
from aweigh.optimization.training.needs import check

ROWS = Rows(inputs={}, outputs={})


class Kept:
    """Counts."""

    def __init__(self) -> None:
        self.kept = self.restored = 0

    def keep(self) -> None:
        self.kept += 1

    def restore(self) -> None:
        self.restored += 1


class Late(Treatment):
    """Has its form after two epochs."""

    done = 0

    def epoch(self, done: int) -> None:
        self.done = done

    @property
    def settled(self) -> bool:
        return self.done >= 2


def callbacks(treatment: Treatment | None = None, deadline: float = math.inf, **more: Any) -> tuple[Callbacks, Kept]:
    kept = Kept()
    made = Callbacks(treatment=treatment or Treatment(), keeper=kept, deadline=deadline, own=lambda output, target: output - target, **more)
    return made, kept


def test_the_best_epoch_is_kept_and_training_ends_where_it_no_longer_grows() -> None:
    told, kept = callbacks(patience=2)
    told.step(loss=1.0)
    told.epoch(metric=0.5)
    told.epoch(metric=0.7)
    told.epoch(metric=0.6)
    told.epoch(metric=0.7)  # as good, and learnt for longer
    with pytest.raises(StopTraining, match="no progress over 2 epochs"):
        told.epoch(metric=0.6)
    told.finish()
    assert (kept.kept, kept.restored, told.best) == (3, 1, 0.7)
    assert told.told() == "training: 5 epochs, 1 steps, metric 0.7; no progress over 2 epochs"


def test_what_was_reached_before_the_model_has_its_form_does_not_count() -> None:
    told, kept = callbacks(Late())
    for metric in (0.9, 0.8, 0.7):
        told.epoch(metric=metric)
    assert (kept.kept, told.best) == (1, 0.7)


def test_a_loss_that_is_no_number_and_time_that_is_over() -> None:
    with pytest.raises(InvalidInput, match="the loss is nan at step 1"):
        callbacks()[0].step(loss=math.nan)
    with pytest.raises(StopTraining, match="time was over"):
        callbacks(deadline=0.0)[0].step()


def test_the_loss_is_the_persons_own_where_no_pass_has_another() -> None:
    assert callbacks()[0].loss(3, 1) == 2
    assert without_passes(lambda output, target: output * target).loss(3, 4) == 12


def test_stopping_is_no_failure_and_a_failure_tells_its_line() -> None:
    def stops(model: object, told: Callbacks, data: object) -> object:
        told.step()
        raise StopTraining

    def fails(model: object, told: Callbacks, data: object) -> object:
        return {}["colour"]

    assert called("m:f", stops, None, callbacks()[0], None) is None
    with pytest.raises(InvalidInput, match=r"--train m:f failed at .*test_training.py:\d+: KeyError: 'colour'"):
        called("m:f", fails, None, callbacks()[0], None)
    with pytest.raises(InvalidInput, match=r"never called callbacks.step"):
        called("m:f", lambda *_: None, None, callbacks()[0], None)


def test_names_of_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_training.py").write_text("import absent_library\n")
    (tmp_path / "other_training.py").write_text("def train(model, callbacks, data): ...\ndef data(rows): return [rows]\nlist = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    for text, error, said in (
        ("train", InvalidInput, "not of the form"),
        ("nowhere_training:train", MissingLibrary, "no module 'nowhere_training'"),
        ("own_training:train", MissingLibrary, "no module 'absent_library'"),
        ("other_training:list", InvalidInput, "no function 'list'"),
    ):
        with pytest.raises(error, match=said):
            named("--train", text)
    assert data_of(named("--train", "other_training:train"), ROWS) == [ROWS]


def test_passes_that_train_say_what_is_missing() -> None:
    job = PassJob(
        variant=Variant(name="onnx", runtime="onnxruntime", precision="fp32"), files={}, signature=Signature(inputs=(), outputs=()), folder="",
        calibration="rows", train="training:train", source="model.pt", factory="training:Mlp",
    )  # fmt: skip
    check(job)
    for change, said in (
        ({"train": ""}, "with your own code"),
        ({"source": "", "factory": ""}, "trains the source model"),
        ({"source": "model.keras"}, "is a Keras model"),
        ({"calibration": ""}, "rows of real data"),
        ({"variant": Variant(name="int8", runtime="onnxruntime", precision="int8")}, "begins with the source"),
    ):
        given = {field: getattr(job, field) for field in job.__struct_fields__}
        with pytest.raises(Unsupported, match=said):
            check(PassJob(**{**given, **change}))
    with pytest.raises(Unsupported, match=r"no .keras"):
        check(job, keras=True)
    training = {made.declares.name for made in all_passes() if made.declares.kind is Kind.TRAIN}
    assert {
        "prune-structured",
        "qat",
        "distil",
        "keras-qat",
        "keras-cluster",
        "cluster-weights",
        "prune-unstructured",
        "prune-2-4",
    } <= training


def test_numbers_as_few_shared_ones() -> None:
    drawn = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    centres = centres_of(drawn, 16)
    which = nearest(drawn, centres)
    assert len(centres) == 16
    assert (np.diff(centres) > 0).all()
    assert float(np.abs(drawn - centres[which]).mean()) < 0.12
    assert np.abs(drawn[:, None] - centres).argmin(1).tolist() == which.tolist()
    np.testing.assert_allclose(means(drawn, which, centres)[3], drawn[which == 3].mean(), rtol=1e-5)
    few = np.array([1, 2, 2, 5], np.float32)
    assert centres_of(few, 16).tolist() == [1, 2, 5]
    assert means(few, np.array([0, 1, 1, 1]), np.array([0, 0, 9], np.float32)).tolist() == [1, 3, 9]


def test_answers_that_are_far_from_each_other() -> None:
    one = np.array([[1000.0, 0.0]], np.float32)
    assert not far(one + 0.5, one)
    assert far(one + 2, one)
    assert far(np.array([1, 2]), np.array([1, 3]))
