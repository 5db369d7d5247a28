"""The memory budget: who makes room, in which order, and when nobody can."""

import pytest

from aweigh.core.errors import InsufficientMemory
from aweigh.engine.memory_budget import Held, MemoryBudget, never_fits

MIB = 1024**2


def held(name: str, size_mib: int, used: float, stays: str = "") -> Held:
    return Held(name=name, version="1", size_bytes=size_mib * MIB, last_used=used, stays=stays)


def test_the_least_recently_used_go_first_and_no_more_than_needed() -> None:
    budget = MemoryBudget(100 * MIB)
    models = [held("late", 40, 3.0), held("first", 30, 1.0), held("second", 20, 2.0)]
    assert budget.reserve("new:1", 10 * MIB, models) == []
    budget.release("new:1")
    assert [model.name for model in budget.reserve("new:1", 40 * MIB, models)] == ["first"]
    budget.release("new:1")
    assert [model.name for model in budget.reserve("new:1", 41 * MIB, models)] == ["first", "second"]


def test_without_a_budget_nobody_goes() -> None:
    assert MemoryBudget(0).reserve("new:1", 10**15, [held("old", 10**6, 1.0)]) == []


def test_insufficient_resources() -> None:
    """basic_manager_test.cc of TensorFlow Serving, InsufficientResources: refused with what it needs; what is reserved counts."""
    budget = MemoryBudget(100 * MIB)
    budget.reserve("loading:1", 30 * MIB, [])
    models = [held("busy", 40, 1.0, "it is answering"), held("kept", 20, 2.0, "pinned")]
    with pytest.raises(InsufficientMemory) as error:
        budget.reserve("new:3", 20 * MIB, models)
    assert error.value.message == (
        "model 'new:3' needs 20.0 MiB, and of the memory budget of 100.0 MiB 10.0 MiB are free; "
        "these stay: busy:1 (it is answering), kept:1 (pinned)"
    )
    assert error.value.context == {"need_bytes": 20 * MIB, "used_bytes": 90 * MIB, "budget_bytes": 100 * MIB}
    assert not never_fits(error.value)
    assert budget.reserved_bytes == 30 * MIB, "nothing was set aside"
    with pytest.raises(InsufficientMemory) as large:
        budget.reserve("large:1", 101 * MIB, [])
    assert never_fits(large.value)


def test_resources_released_if_load_fails() -> None:
    """basic_manager_test.cc of TensorFlow Serving, ResourcesReleasedIfLoadFails: a second load has the room of the first, which failed."""
    budget = MemoryBudget(10 * MIB)
    budget.reserve("failing:1", 10 * MIB, [])
    with pytest.raises(InsufficientMemory):
        budget.reserve("other:1", 10 * MIB, [])
    budget.release("failing:1")
    assert budget.reserve("other:1", 10 * MIB, []) == []


def test_what_was_measured_counts_more_than_the_guess() -> None:
    budget = MemoryBudget(MIB)
    assert budget.need("sha256:a", 7) == 7
    budget.measured("sha256:a", 11)
    assert (budget.need("sha256:a", 7), budget.need("sha256:b", 7)) == (11, 7)


def test_pinned() -> None:
    budget = MemoryBudget(MIB, "fraud, prod-*")
    assert [name for name in ("fraud", "prod-a", "fraud2", "a-prod-b") if budget.pinned(name)] == ["fraud", "prod-a"]
    assert not MemoryBudget(MIB).pinned("")
