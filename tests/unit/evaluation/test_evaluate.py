"""The report: labels of every kind, slices, rankings of candidates, requirements."""

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from aweigh.core.errors import InvalidInput, InvalidSetting, Unsupported, WrongUse
from aweigh.core.signature import Signature, Task, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.evaluation import Candidate, Question, evaluate
from aweigh.evaluation.answers import class_labels, class_scores, key_of
from aweigh.evaluation.gates import parse_requirement
from aweigh.evaluation.page import evaluation_page
from aweigh.evaluation.slices import cut

INPUT = TensorSpec(name="X", datatype=Datatype.FP32, shape=("batch", 2))
RANDOM = np.random.default_rng(5)


def classifier(labels: tuple[Any, ...], datatype: Datatype, outputs: list[Any], model: str = "m:1") -> Candidate:
    signature = Signature(
        inputs=(INPUT,),
        outputs=(
            TensorSpec(name="label", datatype=datatype, shape=("batch",), role="label"),
            TensorSpec(name="p", datatype=Datatype.FP32, shape=("batch", len(labels)), role="probability"),
        ),
        task=Task.CLASSIFICATION,
        labels=labels,
    )
    return Candidate(model=model, digest="sha256:0", variant="onnx", signature=signature, outputs=outputs)


def regressor(values: Any, model: str = "r:1", task: Task = Task.REGRESSION) -> Candidate:
    output = TensorSpec(name="y", datatype=Datatype.FP32, shape=("batch",), role="prediction")
    signature = Signature(inputs=(INPUT,), outputs=(output,), task=task)
    return Candidate(model=model, digest="sha256:0", variant="onnx", signature=signature, outputs=[np.asarray(values, dtype=np.float32)])


def quantile_regressor(values: Any, model: str = "q:1") -> Candidate:
    output = TensorSpec(name="q", datatype=Datatype.FP32, shape=("batch", 3), role="prediction")
    signature = Signature(inputs=(INPUT,), outputs=(output,), task=Task.REGRESSION)
    return Candidate(model=model, digest="sha256:0", variant="onnx", signature=signature, outputs=[np.asarray(values, dtype=np.float32)])


def without_probabilities(one: Candidate) -> Candidate:
    signature = msgspec.structs.replace(one.signature, outputs=one.signature.outputs[:1])
    return dataclasses.replace(one, signature=signature, outputs=one.outputs[:1])


def two(right: Any, *, wrong: int, model: str) -> Candidate:
    """A classifier of 'no' and 'yes' that is wrong in the first rows."""
    given = np.array(right, dtype=object)
    given[:wrong] = ["no" if one == "yes" else "yes" for one in given[:wrong]]
    chances = np.array([[0.1, 0.9] if one == "yes" else [0.9, 0.1] for one in given], dtype=np.float32)
    return classifier(("no", "yes"), Datatype.BYTES, [given, chances], model)


RIGHT = ["yes", "no"] * 100


def test_candidates_are_ranked_on_the_same_rows_with_tests() -> None:
    found = evaluate(
        [two(RIGHT, wrong=60, model="bad:1"), two(RIGHT, wrong=10, model="good:1"), two(RIGHT, wrong=12, model="close:1")],
        Question(right=RIGHT, data="d", by="accuracy", resamples=300),
    )
    assert [one.model for one in found.candidates] == ["good:1", "close:1", "bad:1"]
    close, far = found.comparisons
    assert close.difference.value == pytest.approx(0.01)
    assert far.p_value < 0.02 < close.p_value
    assert far.mcnemar_p is not None
    assert far.mcnemar_p < 1e-6
    assert "bad:1" in evaluation_page(found)


def test_the_order_of_a_models_labels_does_not_matter() -> None:
    one = two(RIGHT, wrong=10, model="a:1")
    turned = classifier(("yes", "no"), Datatype.BYTES, [one.outputs[0], one.outputs[1][:, ::-1]], "b:1")
    found = evaluate([one, turned], Question(right=RIGHT, data="d", resamples=20))
    assert found.candidates[0].metrics == found.candidates[1].metrics
    assert found.comparisons[0].p_value == 1.0


@pytest.mark.parametrize(
    ("labels", "datatype", "right"),
    [
        ((0, 1), Datatype.INT64, ["0", "1", "1.0", "0"]),
        ((0, 1), Datatype.INT64, [0.0, 1.0, 1.0, 0.0]),
        ((False, True), Datatype.BOOL, ["False", "true", True, 0]),
        (("0", "1"), Datatype.BYTES, [0, 1, 1, 0]),
    ],
)
def test_labels_are_recognised_however_they_are_written(labels: tuple[Any, ...], datatype: Datatype, right: list[Any]) -> None:
    given = np.array([labels[0], labels[1], labels[1], labels[0]], dtype=datatype.dtype)
    chances = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=np.float32)
    found = evaluate([classifier(labels, datatype, [given, chances])], Question(right=right, data="d", resamples=10))
    assert found.candidates[0].metrics["accuracy"].value == 1.0
    assert len(found.labels) == 2


def test_labels_of_another_kind_are_refused_and_unknown_ones_are_wrong() -> None:
    model = two(RIGHT, wrong=0, model="m:1")
    with pytest.raises(InvalidInput, match="none of the labels"):
        evaluate([model], Question(right=["ja", "nein"] * 100, data="d", resamples=10))
    found = evaluate([model], Question(right=["yes", "maybe"] * 100, data="d", resamples=10))
    assert found.labels == ("no", "yes", "maybe")
    assert found.candidates[0].metrics["accuracy"].value == 0.5


@pytest.mark.parametrize(
    ("others", "datatype", "right"),
    [
        (("0", "1"), Datatype.BYTES, ["0", "1.0", "1", 0.0]),
        (("0", "1"), Datatype.BYTES, [0, 1.0, 1, "0"]),
        ((False, True), Datatype.BOOL, ["0", "1.0", 1, "False"]),
        ((False, True), Datatype.BOOL, [False, True, "true", 0]),
    ],
)
def test_candidates_whose_labels_are_of_other_kinds_are_held_against_the_same_answers(others: Any, datatype: Datatype, right: Any) -> None:
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], dtype=np.float32)
    one = classifier((0, 1), Datatype.INT64, [np.array([0, 1, 1, 0]), chances], "a:1")
    two = classifier(others, datatype, [np.array([others[0], others[1], others[1], others[0]], dtype=datatype.dtype), chances], "b:1")
    scores = Candidate(
        model="c:1", digest="", variant="onnx", signature=msgspec.structs.replace(one.signature, outputs=one.signature.outputs[1:], labels=()),
        outputs=[chances],
    )  # fmt: skip
    for models in ([one, two], [two, one], [scores, one, two]):
        found = evaluate(models, Question(right=right, data="d", resamples=10))
        assert len(found.labels) == 2
        assert all(candidate.metrics["accuracy"].value == 1.0 for candidate in found.candidates)
        assert len({candidate.metrics["brier"].value for candidate in found.candidates}) == 1


def test_labels_that_one_kind_would_see_as_equal_stay_apart() -> None:
    given = np.array(["01", "1", "1", "01"], dtype=object)
    texts = without_probabilities(classifier(("01", "1"), Datatype.BYTES, [given, np.ones((4, 2), np.float32)], "a:1"))
    numbers = without_probabilities(classifier((0, 1), Datatype.INT64, [np.array([0, 1, 1, 0]), np.ones((4, 2), np.float32)], "b:1"))
    found = evaluate([texts, numbers], Question(right=["01", "1", "1", "01"], data="d", resamples=10))
    assert {one.model: one.metrics["accuracy"].value for one in found.candidates} == {"a:1": 1.0, "b:1": 0.5}


def test_labels_in_utf_8() -> None:
    texts = ["é", "中"] * 4
    for given in (texts, [text.encode() for text in texts]):
        model = without_probabilities(classifier(("é", "中"), Datatype.BYTES, [np.array(given, dtype=object), np.ones((8, 2), np.float32)]))
        for one in (model, dataclasses.replace(model, signature=msgspec.structs.replace(model.signature, labels=()))):
            found = evaluate([one], Question(right=texts, data="d", resamples=10))
            assert found.labels == ("é", "中")
            assert found.candidates[0].metrics["accuracy"].value == 1.0


@pytest.mark.parametrize(
    "right",
    [list(range(3000)), [f"c-{at}" for at in range(3000)], ["yes"] * 1500 + [f"c-{at}" for at in range(1500)], [*range(30), *["no"] * 20]],
    ids=["numbers", "texts", "fewer rows", "few rows"],
)
def test_a_column_of_names_is_none_of_labels(right: list[Any]) -> None:
    model = two(RIGHT * 15, wrong=0, model="m:1")
    model = dataclasses.replace(model, outputs=[output[: len(right)] for output in model.outputs])
    with pytest.raises(InvalidInput, match="right answers are labels that no model here knows") as caught:
        evaluate([model], Question(right=right, data="d", resamples=10))
    assert caught.value.hint == "check --labels: known are no, yes"


def test_many_labels_that_the_model_knows_or_few_that_it_does_not_are_judged() -> None:
    known = [f"k{at}" for at in range(1500)]
    right = [*known, "k1", "other"]
    given = np.array([*known, "k1", "k2"], dtype=object)
    model = without_probabilities(classifier(tuple(known), Datatype.BYTES, [given, np.ones((1502, 1500), np.float32)]))
    found = evaluate([model], Question(right=right, data="d", resamples=10))
    assert found.candidates[0].metrics["accuracy"].value == pytest.approx(1501 / 1502)
    strange = evaluate([two(RIGHT, wrong=0, model="m:1")], Question(right=[*["yes"] * 80, *"abcdefghij" * 12], data="d", resamples=10))
    assert strange.candidates[0].metrics["accuracy"].value == pytest.approx(0.2)


def test_probabilities_are_kept_of_known_labels_alone() -> None:
    model = two(RIGHT, wrong=0, model="m:1")
    right = [*RIGHT[:-3], "maybe", "perhaps", "other"]
    labels = class_labels([model.signature], right, [model.outputs], str)
    scores = class_scores(model.signature, model.outputs, right, labels, str)
    assert labels == ("no", "yes", "maybe", "other", "perhaps")
    assert scores.probabilities is not None
    assert scores.probabilities.shape == (200, 2)
    whole = dataclasses.replace(scores, probabilities=np.pad(scores.probabilities, ((0, 0), (0, 3))))
    weights = RANDOM.integers(1, 4, 200).astype(np.float64)
    assert scores.measure(weights) == whole.measure(weights)
    assert scores.calibration() == whole.calibration()


def test_rows_without_an_answer_are_left_out_and_said() -> None:
    right = [*RIGHT[:-2], None, ""]
    found = evaluate([two(RIGHT, wrong=0, model="m:1")], Question(right=right, data="d", slices={"s": list(range(200))}, resamples=10))
    assert found.rows == 198
    assert "2 rows" in found.notes[0]
    with pytest.raises(InvalidInput, match="at least two"):
        evaluate([two(RIGHT, wrong=0, model="m:1")], Question(right=[None] * 200, data="d"))


def test_the_worst_slice_comes_first_and_is_marked() -> None:
    slices = {"site": ["b" if at < 40 else "a" for at in range(200)]}
    question = Question(
        right=RIGHT, data="d", slices=slices, by="accuracy", resamples=200,
        requirements=(parse_requirement("accuracy >= 80%"), parse_requirement("accuracy.worst >= 0.8"), parse_requirement("f1[yes].low >= 0.99")),
    )  # fmt: skip
    found = evaluate([two(RIGHT, wrong=30, model="m:1")], question)
    worst, other = found.candidates[0].slices
    assert (worst.value, worst.rows, worst.worse, other.worse) == ("b", 40, True, False)
    assert worst.metrics["accuracy"].value == pytest.approx(0.25)
    assert [one.passed for one in found.verdicts] == [True, False, False]
    assert not found.passed


def intervals(right: Any, low: Any, high: Any, model: str = "q:1") -> Candidate:
    """Answers the quantiles `right + low`, `right` and `right + high`."""
    return quantile_regressor(np.column_stack([right + low, right, right + high]), model)


def test_the_worst_slice_is_the_worst_for_the_requirement() -> None:
    right = np.linspace(1, 2, 100)
    inside = np.arange(100) < 50
    model = intervals(right, np.where(inside, -1, 1), 2)
    texts = ("interval_coverage.worst >= 0.8", "interval_coverage.worst <= 0.8", "bias.worst >= -1", "mae.worst <= 1")
    question = Question(
        right=right.tolist(), data="d", slices={"part": np.where(inside, "in", "out").tolist()}, quantiles=(0.1, 0.5, 0.9), resamples=10,
        requirements=tuple(map(parse_requirement, texts)),
    )  # fmt: skip
    found = evaluate([model], question)
    assert [(one.found, one.passed) for one in found.verdicts[:2]] == [(0.0, False), (1.0, False)]
    assert [one.passed for one in found.verdicts[2:]] == [True, True]


@pytest.mark.parametrize(("by", "order"), [("interval_coverage", ["fits", "wide", "off"]), ("coverage[0.9]", ["fits", "wide", "off"])])
def test_coverage_is_ranked_by_what_the_quantiles_say(by: str, order: list[str]) -> None:
    right = np.linspace(1, 2, 100)
    tenths = np.arange(100) % 10
    fits = intervals(right, np.where(tenths == 0, 0.5, -0.5), np.where(tenths == 1, -0.5, 0.5), "fits")  # 80% within, 90% below the third
    models = [intervals(right, 1, -1, "off"), intervals(right, -2, 2, "wide"), fits]
    cut_by = {"tenth": (tenths < 2).tolist()}
    question = Question(right=right.tolist(), data="d", by=by, quantiles=(0.1, 0.5, 0.9), resamples=10, slices=cut_by)
    found = evaluate(models, question)
    assert [one.model for one in found.candidates] == order
    assert found.candidates[0].slices[0].value == "True"


def test_a_model_without_probabilities_beside_one_with_them() -> None:
    sure = two(RIGHT, wrong=10, model="sure:1")
    plain = without_probabilities(two(RIGHT, wrong=5, model="plain:1"))
    for models in ([sure, plain], [plain, sure]):
        found = evaluate(models, Question(right=RIGHT, data="d", resamples=10))
        assert [one.model for one in found.candidates] == ["plain:1", "sure:1"]
        assert [figure.value is None for figure in found.figures["log_loss"]] == [True, False]
        assert set(found.figures) == set(found.candidates[1].metrics)
        assert "<td>log_loss</td><td>-</td>" in evaluation_page(found).replace(" class=number", "")
        with pytest.raises(InvalidSetting, match="--by 'log_loss': plain:1 has no such figure") as caught:
            evaluate(models, Question(right=RIGHT, data="d", resamples=10, by="log_loss"))
        assert "accuracy" in caught.value.hint
        with pytest.raises(InvalidSetting, match="plain:1: there is no metric 'log_loss'"):
            evaluate(models, Question(right=RIGHT, data="d", resamples=10, requirements=(parse_requirement("log_loss <= 1"),)))


def test_regression_and_ranking() -> None:
    right = RANDOM.normal(size=40)
    better, worse = regressor(right + 0.1), regressor(right + RANDOM.normal(size=40), "s:1")
    found = evaluate([worse, better], Question(right=right.tolist(), data="d", resamples=50))
    assert [one.model for one in found.candidates] == ["r:1", "s:1"]
    assert found.comparisons[0].mcnemar_p is None
    ranked = regressor(right, task=Task.RANKING)
    relevance = (right > 0).astype(int).tolist()
    with pytest.raises(WrongUse, match="group by group"):
        evaluate([ranked], Question(right=relevance, data="d"))
    groups = [at // 10 for at in range(40)]
    found = evaluate([ranked], Question(right=relevance, data="d", groups=groups, slices={"g": groups}, resamples=50))
    assert found.candidates[0].metrics["ndcg@5"].value == pytest.approx(1.0)
    assert [one.rows for one in found.candidates[0].slices] == [1, 1, 1, 1]
    with pytest.raises(Unsupported, match="values a row"):
        evaluate([regressor(np.ones((40, 3)))], Question(right=right.tolist(), data="d"))


def test_scores_of_classes_without_a_signature_that_says_so() -> None:
    signature = Signature(inputs=(INPUT,), outputs=(TensorSpec(name="logits", datatype=Datatype.FP32, shape=("batch", 3)),))
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]] * 5 - 1
    model = Candidate(model="m:1", digest="", variant="onnx", signature=signature, outputs=[logits])
    found = evaluate([model], Question(right=["0", "1", "2", "1"], data="d", resamples=10))
    assert found.task is Task.CLASSIFICATION
    assert found.candidates[0].metrics["accuracy"].value == 0.75
    assert "log_loss" not in found.candidates[0].metrics


@pytest.mark.parametrize("text", ["f1", "f1 > 0.9", "f1 >= ", "f1.middle >= 1", "9 >= f1", "x" * 400])
def test_requirements_that_are_none(text: str) -> None:
    with pytest.raises(InvalidSetting):
        parse_requirement(text)


def test_a_requirement_that_no_figure_reaches_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="accuracy is at most 1") as caught:
        parse_requirement("accuracy.low >= 90")
    assert caught.value.hint == "did you mean '90%'?"
    assert parse_requirement("rmse <= 12").bound == 12
    assert parse_requirement("accuracy >= 100%").bound == 1


def test_a_requirement_of_a_class_that_there_is_not_names_the_classes() -> None:
    question = Question(right=RIGHT, data="d", resamples=10, requirements=(parse_requirement("f1[ja] >= 0.9"),))
    with pytest.raises(InvalidSetting, match="no class of 'f1\\[ja\\]'") as caught:
        evaluate([two(RIGHT, wrong=0, model="m")], question)
    assert set(caught.value.hint.removeprefix("the classes are: ").split(", ")) == set(map(str, RIGHT))


def test_a_requirement_of_a_metric_that_was_not_measured_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="no metric") as caught:
        parse_requirement("acuracy >= 1")
    assert "accuracy" in caught.value.hint
    with pytest.raises(InvalidSetting):
        evaluate(
            [two(RIGHT, wrong=0, model="m")], Question(right=RIGHT, data="d", resamples=10, requirements=(parse_requirement("rmse <= 1"),))
        )
    with pytest.raises(InvalidSetting, match="no slice"):
        evaluate(
            [two(RIGHT, wrong=0, model="m")],
            Question(right=RIGHT, data="d", resamples=10, requirements=(parse_requirement("f1.worst >= 1"),)),
        )


def test_cuts() -> None:
    assert [(name, rows.tolist()) for name, rows in cut(["b", None, "a", "b", ""])] == [("(missing)", [1, 4]), ("a", [2]), ("b", [0, 3])]
    assert [name for name, _ in cut([1, 2.0, "2"])] == ["1", "2"]
    quarters = cut([str(at) for at in range(100)] + [""])
    assert [len(rows) for _, rows in quarters] == [25, 25, 25, 25, 1]
    assert quarters[0][0] == "[0, 24.75]"
    near = cut([1000000.0 + at for at in range(100)])
    assert [name for name, _ in near][:2] == ["[1e+06, 1.00002e+06]", "(1.00002e+06, 1.00005e+06]"]
    assert len({name for name, _ in near}) == 4
    many = cut([f"v{at}" for at in range(50)] + ["v0"])
    assert len(many) == 20
    assert {name: len(rows) for name, rows in many}["(other)"] == 31


def test_different_numbers_are_different_slices() -> None:
    found = cut([1000001.0, 1000002.0, 0.1, 0.1 + 2**-55, 1e300, -0.0, 0.0, np.float64(2.5), float("inf"), None])
    names = [name for name, _ in found]
    assert names == sorted(["1000001", "1000002", "0.1", "0.10000000000000003", "1e+300", "0", "2.5", "inf", "(missing)"])
    assert {name: len(rows) for name, rows in found}["0"] == 2


def test_infinite_numbers_go_to_the_first_and_last_quarter_of_the_finite_ones() -> None:
    infinite = [float("inf")] * 10 + [float("-inf")]
    found = cut([float(at) for at in range(20)] + infinite)
    assert [(name, len(rows)) for name, rows in found] == [
        ("[-inf, 4.75]", 6),
        ("(4.75, 9.5]", 5),
        ("(9.5, 14.25]", 5),
        ("(14.25, inf]", 15),
    ]
    assert len(cut([10**400, *range(20)])) == 20  # what no float holds is cut by value


def test_a_page_escapes_what_comes_from_data() -> None:
    found = evaluate(
        [two(RIGHT, wrong=3, model="m:1")],
        Question(right=RIGHT, data="<b>d</b>", slices={"<i>": ["<script>"] * 200}, resamples=10),
    )
    page = evaluation_page(found)
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_keys() -> None:
    assert [key_of(one) for one in (1, 1.0, b"1", True, np.int64(1), 1.5)] == ["1", "1", "1", "true", "1", "1.5"]
