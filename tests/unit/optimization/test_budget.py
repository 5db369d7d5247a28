"""What a person gives for speed, read from text and held against figures."""

import pytest

from aweigh.core.errors import InvalidSetting
from aweigh.evaluation.metrics import bounded
from aweigh.optimization.budget import Figure, check_measured, judge, parse_budget

KNOWN = ("accuracy", "f1", "rmse", "ndcg", "r2", "bias", "coverage")


def better(metric: str) -> int:
    return -1 if metric == "rmse" else 0 if metric.startswith(("bias", "coverage")) else 1


def holds(text: str, source: dict[str, float], found: dict[str, float]) -> bool:
    budget = parse_budget(text, better, KNOWN)
    figures = [{name: Figure(value=value) for name, value in each.items()} for each in (source, found)]
    return all(verdict.passed for verdict in judge(budget, figures[0], figures[1]))


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("accuracy >= 99%", 0.9405, True),
        ("accuracy >= 99%", 0.9404, False),
        ("accuracy ≥ 0.94", 0.94, True),
        ("accuracy within 0.5 points", 0.945, True),
        ("accuracy within 0.5 points", 0.9449, False),
        ("accuracy within 1 point", 0.941, True),
    ],
)
def test_more_is_better(text: str, found: float, expected: bool) -> None:
    assert holds(text, {"accuracy": 0.95}, {"accuracy": found}) is expected


def test_less_is_better() -> None:
    assert holds("rmse <= 102%", {"rmse": 10.0}, {"rmse": 10.2})
    assert not holds("rmse <= 102%", {"rmse": 10.0}, {"rmse": 10.21})
    assert holds("rmse within 1 points", {"rmse": 10.0}, {"rmse": 10.005})


def test_several_conditions_must_all_hold() -> None:
    source = {"accuracy": 0.9, "agreement": 1.0}
    assert holds("accuracy >= 99%, agreement >= 98%", source, {"accuracy": 0.9, "agreement": 0.98})
    assert not holds("accuracy >= 99%, agreement >= 98%", source, {"accuracy": 0.9, "agreement": 0.97})


def test_a_share_of_what_compares_with_the_source_is_the_figure_itself() -> None:
    budget = parse_budget("neighbours >= 97.5%", better, ())
    assert budget.conditions[0].limit(1.0) == 0.975
    assert budget.agreement == 0.975
    assert parse_budget("exact", better, ()).exact


@pytest.mark.parametrize(
    ("text", "agreement"),
    [
        ("agreement within 0.5 points", 0.995),
        ("agreement within 20 points", 0.8),
        ("cosine within 1 point, accuracy within 0.5 points", 0.99),
        ("accuracy within 5 points", 0.99),
        ("accuracy >= 97%", 0.97),
        ("rmse <= 101%", 0.99),  # a share of an error is none of rows
        ("rmse <= 90%", 0.99),
        ("accuracy >= 101%", 0.99),
        ("rmse <= 101%, accuracy >= 97%", 0.97),
    ],
)
def test_what_passes_go_by_when_they_choose_what_stays_in_float(text: str, agreement: float) -> None:
    assert parse_budget(text, better, KNOWN).agreement == pytest.approx(agreement)


@pytest.mark.parametrize(
    ("text", "metric", "source", "found", "expected"),
    [
        ("bias within 5 points", "bias", 0.0, 0.05, True),
        ("bias within 5 points", "bias", 0.0, -0.05, True),
        ("bias within 5 points", "bias", 0.0, 1000.0, False),
        ("bias within 5 points", "bias", 0.0, -1000.0, False),
        ("coverage[0.9] within 1 points", "coverage[0.9]", 0.9, 0.95, False),
        ("bias <= 0.1", "bias", 0.0, 0.1, True),
        ("bias <= 0.1", "bias", 0.0, 0.11, False),
        ("bias >= -0.1", "bias", 0.0, -0.11, False),
    ],
)
def test_neither_more_nor_less_is_better(text: str, metric: str, source: float, found: float, *, expected: bool) -> None:
    assert holds(text, {metric: source}, {metric: found}) is expected


def test_the_limit_is_told_on_the_side_where_the_figure_lies() -> None:
    for found, limit in ((1000.0, 0.05), (-1000.0, -0.05)):
        verdict = judge(parse_budget("bias within 5 points", better, KNOWN), {"bias": Figure(value=0.0)}, {"bias": Figure(value=found)})[0]
        assert (verdict.limit, verdict.lost) == (limit, 1000)


def test_a_share_of_what_is_better_neither_way_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="neither more nor less is better") as caught:
        parse_budget("bias >= 99%", better, KNOWN)
    assert "'bias within 1 points'" in caught.value.hint


def test_a_share_of_a_figure_below_nought_is_refused() -> None:
    """The source itself would not reach it."""
    figures = {"r2": Figure(value=-0.5)}
    with pytest.raises(InvalidSetting, match=r"the source's own r2 is -0\.5") as caught:
        check_measured(parse_budget("r2 >= 99%", better, KNOWN), figures)
    assert "'r2 within 1 points'" in caught.value.hint
    check_measured(parse_budget("r2 within 1 points, r2 >= -0.6", better, KNOWN), figures)


def test_what_is_exactly_at_the_limit_passes_however_it_is_rounded() -> None:
    for right in range(6, 1001):
        assert holds("accuracy within 0.5 points", {"accuracy": right / 1000}, {"accuracy": (right - 5) / 1000}), right
        assert not holds("accuracy within 0.5 points", {"accuracy": right / 1000}, {"accuracy": (right - 6) / 1000}), right


def test_what_is_lost_is_never_what_was_won() -> None:
    for text, found, lost in (
        ("accuracy >= 99%", 0.7, 0.1),
        ("accuracy >= 99%", 0.9, 0.0),
        ("rmse <= 101%", 0.9, 0.1),
        ("rmse <= 101%", 0.7, 0.0),
    ):
        budget = parse_budget(text, better, KNOWN)
        metric = budget.metrics[0]
        assert judge(budget, {metric: Figure(value=0.8)}, {metric: Figure(value=found)})[0].lost == pytest.approx(lost)
        assert judge(budget, {metric: Figure(value=0.8)}, {})[0].lost == 0


def test_a_figure_that_there_is_not_passes_nothing() -> None:
    assert not holds("rmse <= 102%", {"rmse": 10.0}, {})
    verdict = judge(parse_budget("rmse <= 102%", better, KNOWN), {"rmse": Figure(value=10.0)}, {})[0]
    assert (verdict.found, verdict.told) == (None, "nothing")


def test_what_the_source_has_no_figure_of_is_no_budget() -> None:
    figures = {"accuracy": Figure(value=0.9), "f1": Figure(value=0.9), "f1[3]": Figure(value=0.8)}
    check_measured(parse_budget("f1[3] >= 99%, accuracy >= 99%", better, KNOWN), figures)
    with pytest.raises(InvalidSetting, match=r"have no 'f1\[33\]'") as caught:
        check_measured(parse_budget("accuracy >= 99%, f1[33] >= 99%", better, KNOWN), figures)
    assert caught.value.hint == "did you mean 'f1[3]'?"
    with pytest.raises(InvalidSetting, match="have no 'rmse'") as caught:
        check_measured(parse_budget("rmse <= 102%", better, KNOWN), figures)
    assert "agreement, neighbours, cosine, accuracy" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast please", "is no budget"),
        ("accuracy <= 99%", "of accuracy, more is better"),
        ("rmse >= 99%", "of rmse, less is better"),
        ("agreement >= 99", "a share of at most 100%"),
        ("acuracy >= 99%", "no metric 'acuracy'"),
        ("x" * 400, "400 characters"),
        ("", "is no budget"),
    ],
)
def test_what_is_no_budget(text: str, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        parse_budget(text, better, KNOWN)


def test_without_labels_there_is_no_accuracy() -> None:
    with pytest.raises(InvalidSetting, match="need --labels") as caught:
        parse_budget("accuracy >= 99%", better, ())
    assert "agreement" in caught.value.hint


def test_a_bound_that_no_figure_reaches_is_refused_before_the_search() -> None:
    with pytest.raises(InvalidSetting, match="accuracy is at most 1") as caught:
        parse_budget("accuracy >= 99", better, KNOWN, bounded)
    assert caught.value.hint == "did you mean '99%' (of the source's)?"
    for text in ("accuracy >= 1", "accuracy >= 101%", "rmse <= 12", "f1[yes] >= 0.9", "agreement >= 99%"):
        assert parse_budget(text, better, KNOWN, bounded).conditions
    with pytest.raises(InvalidSetting, match="f1 is at most 1"):
        parse_budget("f1[yes] >= 90", better, KNOWN, bounded)


def test_a_figure_is_told_beside_the_source_s_own() -> None:
    figures = {"accuracy": Figure(value=0.97554), "agreement": Figure(value=1.0)}
    found = {"accuracy": Figure(value=0.97222), "agreement": Figure(value=0.99)}
    verdicts = judge(parse_budget("accuracy >= 99%, agreement >= 98%", better, KNOWN), figures, found)
    assert [verdict.beside for verdict in verdicts] == ["0.9722 of 0.9755", "0.99"]
