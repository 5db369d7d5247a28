"""The search for layers that stay in float: fewest of the worst, bounded, refused where only float agrees."""

from collections.abc import Callable

import pytest

from aweigh.core.errors import Unsupported
from aweigh.optimization.graphs.sensitivity import Found, groups_of, mix, told

LAYERS = [f"layer{at}" for at in range(10)]


def hurting(*bad: str) -> Callable[[frozenset[str]], Found]:
    """A model in which each of these takes a tenth of the rows when it is lowered."""
    return lambda kept: Found(share=1 - 0.1 * len(set(bad) - kept), error=0.01 + len(set(bad) - kept))


def never() -> bool:
    return False


def test_nothing_stays_where_nothing_hurts() -> None:
    measure = hurting()
    mixed = mix(LAYERS, measure, lambda kept: measure(kept).error, 0.99, never)
    assert mixed.kept == ()
    assert "100.0%" in told(mixed, LAYERS, "layers")[0]


@pytest.mark.parametrize("bad", [("layer3",), ("layer0", "layer9"), ("layer2", "layer5", "layer6")])
def test_the_layers_that_hurt_stay_and_no_other(bad: tuple[str, ...]) -> None:
    measure = hurting(*bad)
    mixed = mix(LAYERS, measure, lambda kept: measure(kept).error, 0.99, never)
    assert mixed.kept == bad
    assert mixed.found.share == 1
    assert f"{len(bad)} of 10 layers stayed in float" in told(mixed, LAYERS, "layers")[0]


def test_a_looser_budget_keeps_fewer() -> None:
    measure = hurting("layer2", "layer5", "layer6")
    assert len(mix(LAYERS, measure, lambda kept: measure(kept).error, 0.9, never).kept) == 2


def test_where_only_float_agrees_it_is_refused_with_the_figures() -> None:
    measure = hurting(*LAYERS)
    with pytest.raises(Unsupported, match=r"0\.0% of the calibration rows agree .* nearly all of 10 in float"):
        mix(LAYERS, measure, lambda kept: measure(kept).error, 0.99, never)


def test_a_late_ranking_takes_what_it_has() -> None:
    measure = hurting("layer0")
    asked: list[int] = []

    def late() -> bool:
        asked.append(1)
        return len(asked) > 1

    assert mix(LAYERS, measure, lambda kept: measure(kept).error, 0.99, late).kept == ("layer0",)


def test_many_layers_are_tried_by_neighbours() -> None:
    groups = groups_of([f"layer{at}" for at in range(100)])
    assert len(groups) == 24
    assert {len(group) for group in groups} <= {4, 5}
    assert [name for group in groups for name in group][:3] == ["layer0", "layer1", "layer2"]
    assert groups_of([]) == []
