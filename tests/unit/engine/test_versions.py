"""Which step comes next, as TensorFlow Serving's tests of the same names have it (tensorflow_serving/core at github.com/tensorflow/serving)."""

from typing import Any

import pytest
from tests.serving.kit import Clock

from aweigh.core.errors import AweighError, GoldenMismatch, InsufficientMemory, Unavailable
from aweigh.engine.versions import POLICIES, Known, State, Step, Transition, Versions

READY, LOADING, NEW, FAILED, ENDING = State.READY, State.LOADING, State.NEW, State.FAILED, State.ENDING


def step(transition: Transition, *versions: tuple[int, State, bool]) -> Step | None:
    """What the policy does about versions in these states; the last says which are listed."""
    return POLICIES[transition](
        "test", sorted((Known(number=each[0], state=each[1], aspired=each[2]) for each in versions), key=_number), 0.0
    )


def _number(known: Known) -> int:
    return known.number


def load(number: int) -> Step:
    return Step(verb="load", name="test", number=number)


def unload(number: int) -> Step:
    return Step(verb="unload", name="test", number=number)


def test_loads_new_aspired() -> None:
    """availability_preserving_policy_test.cc: of several that are new, the highest."""
    known = ((1, ENDING, False), (2, FAILED, False), (3, READY, True), (4, NEW, True), (5, NEW, True))
    assert step("availability", *known) == load(5)


def test_unloads_non_aspired_first() -> None:
    """availability_preserving_policy_test.cc: unloading costs nothing where another that is listed is ready."""
    known = ((1, ENDING, False), (2, FAILED, False), (3, READY, False), (4, READY, True), (5, NEW, True))
    assert step("availability", *known) == unload(3)
    assert step("resource", *known) == unload(3)


def test_unloads_first_non_aspired_when_no_aspired() -> None:
    """availability_preserving_policy_test.cc: nothing is listed, so that all are to go."""
    assert step("availability", (2, READY, False), (3, READY, False)) == unload(2)


def test_returns_no_action_when_none() -> None:
    """availability_preserving_policy_test.cc."""
    assert step("availability", (1, READY, True), (2, FAILED, True), (3, LOADING, True), (4, ENDING, False)) is None


def test_does_not_unload_when_other_not_ready() -> None:
    """availability_preserving_policy_test.cc, DoesNotUnloadWhenOtherNotReady: the only one that answers stays while its successor loads."""
    assert step("availability", (1, READY, False), (2, LOADING, True)) is None
    assert step("resource", (1, READY, False), (2, LOADING, True)) == unload(1)


def test_does_not_unload_when_other_in_error() -> None:
    """availability_preserving_policy_test.cc, DoesNotUnloadWhenOtherInError: and when its successor has failed."""
    assert step("availability", (1, READY, False), (2, FAILED, True)) is None


def test_unload_if_other_ready_even_if_loading_or_error() -> None:
    """availability_preserving_policy_test.cc, UnloadIfOtherReadyEvenIfLoading and …EvenIfError."""
    assert step("availability", (1, READY, False), (2, LOADING, True), (3, READY, True)) == unload(1)
    assert step("availability", (1, READY, False), (2, FAILED, True), (3, READY, True)) == unload(1)


def test_unload_if_no_aspired_versions_ready() -> None:
    """availability_preserving_policy_test.cc: of several that are to go, all but one may before a successor is ready; the lowest first."""
    assert step("availability", (2, READY, False), (1, READY, False), (3, FAILED, True), (4, LOADING, True)) == unload(1)


def test_resource_preserving_loads_when_none_loaded() -> None:
    """resource_preserving_policy_test.cc, LoadIfNoneLoaded and DontLoadIfModelStillLoaded: only when nothing holds memory that is to go."""
    assert step("resource", (1, FAILED, False), (2, NEW, True)) == load(2)
    assert step("resource", (1, ENDING, False), (2, NEW, True)) is None
    assert step("resource", (1, READY, False), (2, NEW, True)) == unload(1)
    assert step("resource", (1, READY, True), (2, NEW, True)) == load(2)


class Server:
    """Takes every step, as a server would; versions named in `broken` do not load."""

    def __init__(self, transition: Transition = "availability", *, tries: int = 5) -> None:
        self.clock = Clock()
        self.versions = Versions(transition, self.clock, tries=tries, pause_s=60.0)
        self.broken: dict[int, AweighError] = {}
        self.steps: list[str] = []
        self.fewest = 9
        """Least versions that were ready at a time, since there was one."""

    def ready(self) -> set[int]:
        return {known.number for known in self.versions.of("test") if known.state is READY}

    def settle(self) -> set[int]:
        while (taken := self.versions.next("test")) is not None:
            self.steps.append(f"{taken.verb} {taken.number}")
            if taken.verb == "unload":
                self.versions.ended("test", taken.number)
            elif taken.number in self.broken:
                self.versions.failed("test", taken.number, self.broken[taken.number])
            else:
                self.versions.loaded("test", taken.number)
            self.fewest = min(self.fewest, len(self.ready()))
        return self.ready()

    def list(self, *numbers: int) -> set[int]:
        self.versions.aspire("test", numbers)
        return self.settle()


def test_aspire_error_dont_unload() -> None:
    """aspired_versions_manager_test.cc, AspireErrorDontUnload: version 7 alone is listed and cannot be loaded, so that not all of 0 and 1 go;
    a later one that can be loaded lets them."""
    server = Server()
    assert server.list(1, 2) == {1, 2}
    server.broken[7] = GoldenMismatch("An error.")
    assert server.list(7) == {2}
    assert server.list(8) == {8}
    assert server.steps == ["load 2", "load 1", "unload 1", "load 7", "load 8", "unload 2"]
    assert server.fewest == 1


def test_revert_to_smaller_version_number() -> None:
    """aspired_versions_manager_test.cc, RevertToSmallerVersionNumber: what is listed counts, not which number is higher."""
    server = Server()
    server.list(2)
    assert server.list(1) == {1}
    assert server.steps == ["load 2", "load 1", "unload 2"]
    assert server.fewest == 1


def test_unaspire_then_immediately_reaspire() -> None:
    """aspired_versions_manager_test.cc, UnaspireThenImmediatelyReaspire: what is listed again while it ends is loaded anew when it has ended."""
    versions = Versions("availability", Clock(), tries=5, pause_s=60.0)
    versions.found("test", [7])
    versions.aspire("test", [7])
    versions.aspire("test", [])
    assert versions.next("test") == unload(7)
    versions.aspire("test", [7])
    assert versions.next("test") is None, "it is not taken back while it ends"
    versions.ended("test", 7)
    assert versions.next("test") == load(7)


def test_unaspired_while_it_loads() -> None:
    """aspired_versions_manager_test.cc, UnaspireNewServableThenReaspire's neighbour: it is unloaded when it has been loaded."""
    versions = Versions("availability", Clock(), tries=5, pause_s=60.0)
    versions.aspire("test", [1])
    assert versions.next("test") == load(1)
    versions.aspire("test", [])
    assert versions.next("test") is None
    versions.loaded("test", 1)
    assert versions.next("test") == unload(1)
    versions.ended("test", 1)
    assert versions.names() == []


def test_loads_are_tried_again_after_a_pause_then_given_up() -> None:
    """basic_manager_test.cc, RetryOnLoadErrorFinallySucceeds and …Fails: five tries, a minute apart; the old one answers all the while."""
    server = Server()
    server.list(1)
    server.broken[2] = InsufficientMemory("no room")
    for minute in range(7):
        assert server.list(1, 2) == {1}
        due_s = server.versions.due_in_s()
        assert due_s is None if minute >= 4 else due_s == 60.0
        server.clock.seconds += 59.0
        server.settle()
        server.clock.seconds += 1.0
    assert server.steps == ["load 1"] + ["load 2"] * 5
    [_, given_up] = server.versions.of("test")
    assert (given_up.state, given_up.tries, str(given_up.error)) == (FAILED, 5, "no room")
    server.list(1)
    del server.broken[2]
    assert server.list(1, 2) == {1, 2}, "listed anew, it is tried anew"


def test_what_was_dropped_while_it_was_loaded_or_ended_is_not_known_any_more() -> None:
    versions = Versions("availability", Clock(), tries=5, pause_s=60.0)
    for done in (
        versions.loaded,
        lambda name, number: versions.failed(name, number, Unavailable("not now")),
        versions.ended,
    ):
        versions.aspire("test", [1, 2])
        assert versions.next("test") == load(2)
        assert versions.loading("test", 2)
        for number in (1, 2):
            versions.drop("test", number)
        assert not versions.loading("test", 2)
        done("test", 2)
        assert versions.names() == []


def test_what_cannot_get_better_is_not_tried_again() -> None:
    server = Server()
    server.broken[1] = GoldenMismatch("it answers differently here")
    for _ in range(3):
        server.list(1)
        server.clock.seconds += 60.0
    assert server.steps == ["load 1"]


def test_a_load_that_waits_for_its_next_try_keeps_the_old_version() -> None:
    server = Server()
    server.list(1)
    server.broken[2] = Unavailable("not now")
    assert server.list(2) == {1}, "nothing is unloaded between the tries"
    del server.broken[2]
    server.clock.seconds += 60.0
    assert server.settle() == {2}


def test_what_others_load_and_unload_is_taken_over() -> None:
    server = Server()
    server.versions.found("test", [1, 3])
    assert server.list(3) == {3}
    server.versions.found("test", [])
    assert server.list(3) == {3}
    assert server.steps == ["unload 1", "load 3"]


@pytest.mark.parametrize("transition", ["availability", "resource"])
def test_nothing_is_left_of_a_name_that_is_listed_no_more(transition: Any) -> None:
    server = Server(transition)
    server.list(1, 2)
    assert server.list() == set()
    assert server.versions.names() == []


def test_resource_preserving_has_never_two() -> None:
    server = Server("resource")
    server.list(1)
    server.list(2)
    assert server.steps == ["load 1", "unload 1", "load 2"]
    assert server.fewest == 0
