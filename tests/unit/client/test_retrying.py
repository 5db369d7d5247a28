import pytest

from aweigh.client.retrying import RETRY_AFTER, RetryPolicy
from aweigh.core import errors


class Clock:
    """A clock that moves only when slept on or when an attempt takes time."""

    def __init__(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def policy(clock: Clock, retries: int, chance: float = 1.0) -> RetryPolicy:
    return RetryPolicy(retries=retries, first_delay_s=1.0, longest_delay_s=4.0, now=clock.now, sleep=clock.sleep, chance=lambda: chance)


def failing(times: int, error: errors.AweighError) -> "tuple[list[float], object]":
    seen: list[float] = []

    def attempt(left: float) -> str:
        seen.append(left)
        if len(seen) <= times:
            raise error
        return "answer"

    return seen, attempt


def test_delays_double_up_to_a_limit_and_the_time_left_shrinks() -> None:
    clock = Clock()
    seen, attempt = failing(4, errors.Unavailable("no"))
    assert policy(clock, 4).call(attempt, 60.0) == "answer"  # type: ignore[arg-type]
    assert clock.slept == [1.0, 2.0, 4.0, 4.0]
    assert seen == [60.0, 59.0, 57.0, 53.0, 49.0]


def test_the_dice_shorten_a_delay_by_half_at_most() -> None:
    assert policy(Clock(), 1, chance=0.0).delay_s(1, 0.0) == 1.0
    assert policy(Clock(), 1, chance=0.0).delay_s(1, 1.5) == 1.5


def test_the_servers_wish_is_the_least() -> None:
    clock = Clock()
    _, attempt = failing(1, errors.Overloaded("busy", **{RETRY_AFTER: 7.0}))
    policy(clock, 1).call(attempt, 60.0)  # type: ignore[arg-type]
    assert clock.slept == [7.0]


@pytest.mark.parametrize("error", [errors.Unavailable("no"), errors.Overloaded("no", **{RETRY_AFTER: 30.0})])
def test_no_wait_reaches_the_deadline(error: errors.AweighError) -> None:
    clock = Clock()
    seen, attempt = failing(9, error)
    with pytest.raises(type(error)):
        policy(clock, 9).call(attempt, 2.5)  # type: ignore[arg-type]
    assert clock.time <= 102.5
    assert len(seen) <= 2


@pytest.mark.parametrize("cls", [cls for cls in errors.all_errors() if cls.kind not in {errors.Kind.UNAVAILABLE, errors.Kind.OVERLOADED}])
def test_other_failures_are_final(cls: type[errors.AweighError]) -> None:
    seen, attempt = failing(1, cls("no"))
    with pytest.raises(cls):
        policy(Clock(), 5).call(attempt, 60.0)  # type: ignore[arg-type]
    assert len(seen) == 1
