"""The circuit breaker: opens after so many failures in a row, lets one probe through after a pause, and closes when that succeeds."""

import pytest
from tests.serving.kit import Clock

from aweigh.core.errors import InvalidInput
from aweigh.engine.circuit import Circuit, State


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(3, 5.0, clock)


def open_it(circuit: Circuit) -> None:
    for _ in range(3):
        assert circuit.allows()
        circuit.failed()


def test_it_opens_after_so_many_failures_in_a_row(circuit: Circuit) -> None:
    for _ in range(2):
        circuit.failed()
        circuit.failed()
        assert circuit.state is State.CLOSED
        circuit.succeeded()
    open_it(circuit)
    assert circuit.state is State.OPEN
    assert not circuit.allows()


def test_one_probe_after_the_pause_closes_it(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.seconds += 4.999
    assert not circuit.allows()
    clock.seconds += 0.001
    assert [circuit.allows() for _ in range(4)] == [True, False, False, False]
    assert circuit.state is State.HALF_OPEN
    circuit.succeeded()
    assert circuit.state is State.CLOSED
    assert circuit.allows()
    circuit.failed()
    circuit.failed()
    assert circuit.state is State.CLOSED, "it counts from the beginning again"


def test_a_probe_that_fails_opens_it_for_another_pause(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    for _ in range(3):
        clock.seconds += 5
        assert circuit.allows()
        clock.seconds += 2
        circuit.failed()
        assert circuit.state is State.OPEN
        clock.seconds += 4
        assert not circuit.allows()
        clock.seconds -= 4


def test_a_probe_that_nobody_tells_of_does_not_keep_it_open_for_ever(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.seconds += 5
    assert circuit.allows()
    clock.seconds += 4
    assert not circuit.allows()
    clock.seconds += 1
    assert circuit.allows()
    circuit.succeeded()
    assert circuit.state is State.CLOSED


def test_what_was_begun_before_neither_closes_it_nor_lengthens_its_pause(circuit: Circuit, clock: Clock) -> None:
    open_it(circuit)
    clock.seconds += 3
    circuit.succeeded()
    circuit.failed()
    assert circuit.state is State.OPEN
    clock.seconds += 2
    assert circuit.allows()


@pytest.mark.parametrize(("failures", "pause_s"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_what_would_never_open_or_never_close_is_refused(failures: int, pause_s: float) -> None:
    with pytest.raises(InvalidInput, match="a circuit that opens"):
        Circuit(failures, pause_s)
