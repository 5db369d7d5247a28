"""Rollouts from beginning to end, over a fleet and a keeper in memory: what is done in which order, and what is left when a step fails."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from aweigh.core.errors import AweighError, Conflict, GoldenMismatch, InvalidInput, ModelNotFound, NotFound, NotReady, StoreUnavailable
from aweigh.core.rollout import Bounds, Compared, Counted, Plan, Record, Report, Seen
from aweigh.engine.rollouts import Rollouts


class Fleet:
    """Version 1 of 'm' is served. Fails at `fails`, a verb."""

    def __init__(self) -> None:
        self.serving: dict[str, int] = {"m": 1}
        self.done: list[str] = []
        self.fails = ""
        self.now = Seen()
        self.errors: tuple[str, ...] = ()

    def stable(self, name: str) -> int | None:
        return self.serving.get(name)

    def _do(self, verb: str, number: int) -> None:
        if verb == self.fails:
            raise GoldenMismatch(f"{verb} failed")
        self.done.append(f"{verb} {number}")

    async def prepare(self, name: str, number: int) -> None:
        await asyncio.sleep(0)
        self._do("prepare", number)

    async def discard(self, name: str, number: int) -> None:
        self._do("discard", number)

    async def try_out(self, plan: Plan) -> None:
        self._do("try out", plan.candidate)

    async def take_over(self, name: str, number: int) -> None:
        self._do("take over", number)
        self.serving[name] = number

    async def give_up(self, name: str, number: int) -> None:
        self._do("give up", number)

    async def seen(self, plan: Plan, stable: int) -> tuple[Seen, tuple[str, ...]]:
        await asyncio.sleep(0)
        return self.now, self.errors


class Keeper:
    """Records and the alias in memory; what is written goes through JSON as on disk. Fails at `fails`, a verb."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.alias: dict[str, int] = {}
        self.fails = ""

    def _may(self, verb: str) -> None:
        if verb == self.fails:
            raise StoreUnavailable(f"{verb} failed")

    def names(self) -> list[str]:
        return sorted(self.records)

    def read(self, name: str) -> Record:
        return msgspec.json.decode(self.records[name], type=Record) if name in self.records else Record()

    def write(self, name: str, record: Record) -> None:
        self._may("write")
        self.records[name] = msgspec.json.encode(record)

    def newest(self, name: str) -> int:
        return 2

    def live(self, name: str) -> int | None:
        return self.alias.get(name)

    def check(self, name: str, stable: int, candidate: int) -> None:
        if self.fails == "check":
            raise Conflict("they are not alike")

    def move(self, name: str, number: int) -> None:
        self._may("move")
        self.alias[name] = number


CANARY = Plan(name="m", candidate=2, canary=0.1, bounds=Bounds(requests=10))


def run(scene: Callable[[Rollouts, Fleet, Keeper], Awaitable[None]], fleet: Fleet | None = None, keeper: Keeper | None = None) -> None:
    fleet, keeper = fleet or Fleet(), keeper or Keeper()

    async def main() -> None:
        rollouts = Rollouts(fleet, keeper)
        try:
            await scene(rollouts, fleet, keeper)
        finally:
            rollouts.close()

    asyncio.run(main())


async def resumed(rollouts: Rollouts) -> None:
    """The start of a server whose stable versions are loaded."""
    await rollouts.recall()
    await rollouts.resume()


async def ended(rollouts: Rollouts) -> Report:
    """The newest report, once nothing is under way."""
    for _ in range(400):
        [report, *_] = await rollouts.reports("m")
        if not report.open:
            return report
        await asyncio.sleep(0.01)
    raise AssertionError("it goes on and on")


def answered(count: int, failed: int = 0) -> Counted:
    return Counted(answered=count, failed=failed, durations=(count,))


def test_without_a_trial_the_candidate_takes_over_and_then_is_live() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        report = await rollouts.begin(Plan(name="m", candidate=2))
        assert (report.state, report.stable, fleet.done, keeper.alias) == ("promoted", 1, ["prepare 2", "take over 2"], {"m": 2})
        assert keeper.read("m") == Record(current=None, ended=(report,))

    run(scene)


def test_what_is_live_has_a_name_before_anything_is_risked() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        report = await rollouts.begin(CANARY)
        assert (report.state, keeper.alias) == ("running", {"m": 1})
        assert keeper.read("m").current == report

    run(scene)


@pytest.mark.parametrize("verb", ["prepare", "try out"])
def test_a_candidate_that_cannot_be_tried_changes_nothing(verb: str) -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        fleet.fails = verb
        with pytest.raises(GoldenMismatch):
            await rollouts.begin(CANARY)
        [report] = await rollouts.reports("m")
        assert (report.state, report.why) == ("refused", f"{verb} failed")
        assert (fleet.serving, keeper.alias) == ({"m": 1}, {"m": 1})
        assert fleet.done == ([] if verb == "prepare" else ["prepare 2", "discard 2"])
        fleet.fails = ""
        assert (await rollouts.begin(CANARY)).state == "running"

    run(scene)


def test_the_judge_ends_it_and_the_report_says_why() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)
        fleet.now, fleet.errors = Seen(stable=answered(90), candidate=answered(5), failed=5), ("it broke",)
        rollouts.alarm("m")
        report = await ended(rollouts)
        assert (report.state, fleet.done[-1], fleet.serving, keeper.alias) == ("rolled back", "give up 2", {"m": 1}, {"m": 1})
        assert "50.00% of 10 requests" in report.why
        assert (report.errors, [version.failed for version in report.versions]) == (("it broke",), [0, 5])

    run(scene)


def test_what_was_done_before_it_began_does_not_count() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        fleet.now = Seen(stable=answered(1000), candidate=answered(500))
        await rollouts.begin(CANARY)
        await asyncio.sleep(0.25)
        [report] = await rollouts.reports("m")
        assert (report.state, [version.requests for version in report.versions]) == ("running", [0, 0])

    run(scene)


def test_it_promotes_by_itself_when_told_to() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(Plan(name="m", candidate=2, shadow=1, promote_after=20))
        fleet.now = Seen(compared=Compared(calls=20, rows=20))
        report = await ended(rollouts)
        assert (report.state, fleet.serving, keeper.alias) == ("promoted", {"m": 2}, {"m": 2})

    run(scene)


def test_a_person_may_promote_or_roll_back_first() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)
        assert (await rollouts.rollback("m")).why == "rolled back by request"
        await rollouts.begin(CANARY)
        assert (await rollouts.promote("m")).why == "promoted by request"
        assert fleet.serving == keeper.alias == {"m": 2}
        assert (await rollouts.rollback("m")).plan.candidate == 1
        assert fleet.serving == keeper.alias == {"m": 1}
        with pytest.raises(NotFound, match="not being rolled out"):
            await rollouts.promote("m")

    run(scene)


def test_one_at_a_time() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        both = await asyncio.gather(rollouts.begin(CANARY), rollouts.begin(CANARY), return_exceptions=True)
        assert [type(each) for each in both] == [Report, Conflict]
        with pytest.raises(Conflict):
            await rollouts.begin(CANARY)

    run(scene)


def test_what_makes_no_sense_is_refused_by_name() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        with pytest.raises(NotReady):
            await rollouts.begin(Plan(name="other", candidate=2, canary=0.1))
        with pytest.raises(Conflict, match="is the one that answers"):
            await rollouts.begin(Plan(name="m", candidate=1, canary=0.1))
        with pytest.raises(NotFound):
            await rollouts.rollback("m")
        with pytest.raises(ModelNotFound):
            await rollouts.reports("other")
        for wrong in (Plan(name="m", candidate=-1), Plan(name="m", candidate=2, canary=1.1), Plan(name="m", candidate=2, sticky="a b"),
                      Plan(name="m", candidate=2, promote_after=5), Plan(name="m", candidate=2, shadow=1, bounds=Bounds(latency=-1))):  # fmt: skip
            with pytest.raises(InvalidInput):
                await rollouts.begin(wrong)
        assert fleet.done == []

    run(scene)


def test_what_cannot_be_compared_is_not_tried() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        keeper.fails = "check"
        with pytest.raises(Conflict, match="not alike"):
            await rollouts.begin(CANARY)
        assert (fleet.done, keeper.records) == ([], {})
        assert (await rollouts.begin(Plan(name="m", candidate=2))).state == "promoted"

    run(scene)


def test_it_goes_on_after_a_restart_whatever_was_killed() -> None:
    keeper = Keeper()

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await resumed(rollouts)
        [report] = await rollouts.reports("m")
        assert (report.state, report.plan, fleet.done) == ("running", CANARY, ["prepare 2", "try out 2"])

    run(killed, keeper=keeper)
    run(again, keeper=keeper)


def test_a_promotion_that_a_kill_cut_short_is_finished_by_the_restart() -> None:
    keeper, fleet = Keeper(), Fleet()

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await resumed(rollouts)
        [report] = await rollouts.reports("m")
        assert (report.state, fleet.done) == ("promoted", [])

    run(killed, keeper=keeper)
    keeper.alias["m"] = 2
    fleet.serving["m"] = 2
    run(again, fleet, keeper)


def test_after_a_restart_a_candidate_that_is_gone_is_refused_and_the_server_serves() -> None:
    keeper, fleet = Keeper(), Fleet()

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await resumed(rollouts)
        [report] = await rollouts.reports("m")
        assert (report.state, report.why) == ("refused", "after a restart: prepare failed")

    run(killed, keeper=keeper)
    fleet.fails = "prepare"
    run(again, fleet, keeper)


def test_when_the_alias_cannot_move_whoever_asked_is_told() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)
        keeper.fails = "move"
        with pytest.raises(AweighError, match="move failed"):
            await rollouts.promote("m")

    run(scene)


def test_a_judge_that_stumbles_goes_on() -> None:
    class Stumbling(Fleet):
        stumbles = 0

        async def seen(self, plan: Plan, stable: int) -> tuple[Seen, tuple[str, ...]]:
            if self.stumbles:
                self.stumbles -= 1
                raise TypeError("nobody expected this")
            return await super().seen(plan, stable)

        async def give_up(self, name: str, number: int) -> None:
            if self.fails == "give up":
                self.fails = ""
                raise TypeError("nor this")
            await super().give_up(name, number)

    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)
        assert isinstance(fleet, Stumbling)
        fleet.stumbles, fleet.fails = 1, "give up"
        fleet.now = Seen(stable=answered(90), candidate=answered(5), failed=5)
        rollouts.alarm("m")
        await asyncio.sleep(0.05)
        assert (await ended(rollouts)).state == "rolled back"

    run(scene, Stumbling())


def test_what_was_asked_of_one_rollout_does_not_end_the_next() -> None:
    class Slow(Fleet):
        held: asyncio.Event | None = None

        async def seen(self, plan: Plan, stable: int) -> tuple[Seen, tuple[str, ...]]:
            if self.held is not None:
                held, self.held = self.held, None
                await held.wait()
            return await super().seen(plan, stable)

    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)
        assert isinstance(fleet, Slow)
        fleet.held = held = asyncio.Event()
        late = asyncio.ensure_future(rollouts.promote("m"))
        await asyncio.sleep(0)
        await rollouts.rollback("m")
        await rollouts.begin(Plan(name="m", candidate=3, canary=0.1))
        held.set()
        with pytest.raises(Conflict):
            await late
        assert (fleet.serving, rollouts.rolls("m")) == ({"m": 1}, True)

    run(scene, Slow())


def test_a_name_is_the_rollouts_alone_from_the_first_step_to_the_last() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        beginning = asyncio.ensure_future(rollouts.begin(CANARY))
        for _ in range(1000):
            await asyncio.sleep(0)
            if fleet.done:
                break
        assert rollouts.rolls("m"), "while it loads"
        await beginning
        assert rollouts.rolls("m")
        await rollouts.rollback("m")
        assert not rollouts.rolls("m")

    run(scene)


def test_when_another_version_took_over_meanwhile_nothing_is_tried() -> None:
    class Overtaken(Fleet):
        async def prepare(self, name: str, number: int) -> None:
            await super().prepare(name, number)
            self.serving[name] = 3

    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        with pytest.raises(Conflict, match="but 3 answers now"):
            await rollouts.begin(CANARY)
        assert (fleet.done, fleet.serving) == (["prepare 2", "discard 2"], {"m": 3})

    run(scene, Overtaken())


def test_a_rollout_that_cannot_go_on_after_a_restart_is_written_down_once() -> None:
    keeper, fleet = Keeper(), Fleet()

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await resumed(rollouts)
        assert [(report.state, report.why) for report in keeper.read("m").ended] == [("refused", "try out failed")]
        assert fleet.done == ["prepare 2", "discard 2"]

    run(killed, keeper=keeper)
    fleet.fails = "try out"
    run(again, fleet, keeper)


@pytest.mark.parametrize("broken", ["names", "write"])
def test_a_home_that_cannot_be_read_or_written_is_no_reason_not_to_serve(broken: str) -> None:
    class Poor(Keeper):
        def names(self) -> list[str]:
            self._may("names")
            return super().names()

    keeper, fleet = Poor(), Fleet()

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await resumed(rollouts)
        assert not rollouts.rolls("m")

    run(killed, keeper=keeper)
    keeper.fails = broken
    run(again, fleet, keeper)


def test_while_it_is_loaded_after_a_restart_it_cannot_be_promoted() -> None:
    keeper = Keeper()

    class Waiting(Fleet):
        async def prepare(self, name: str, number: int) -> None:
            await gate.wait()
            await super().prepare(name, number)

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        going_on = asyncio.ensure_future(resumed(rollouts))
        for _ in range(1000):
            await asyncio.sleep(0.001)
            if rollouts.rolls("m"):
                break
        with pytest.raises(NotReady):
            await rollouts.promote("m")
        gate.set()
        await going_on
        assert (await rollouts.promote("m")).state == "promoted"

    run(killed, keeper=keeper)
    gate = asyncio.Event()
    run(again, Waiting(), keeper)


def test_of_all_that_was_under_way_the_names_are_the_rollouts_before_anything_is_loaded() -> None:
    keeper = Keeper()

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)
        fleet.serving["n"] = 1
        await rollouts.begin(msgspec.structs.replace(CANARY, name="n"))

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        fleet.serving["n"] = 1
        await rollouts.recall()
        assert fleet.done == []
        for name in ("m", "n"):
            with pytest.raises(Conflict):
                await rollouts.begin(msgspec.structs.replace(CANARY, name=name, candidate=3))
        await rollouts.resume()
        assert fleet.done == ["prepare 2", "try out 2"] * 2

    run(killed, keeper=keeper)
    run(again, keeper=keeper)


@pytest.mark.parametrize("verb", ["prepare", "try out"])
def test_a_server_that_is_stopped_before_a_candidate_is_loaded_again_loses_no_rollout(verb: str) -> None:
    keeper = Keeper()

    class Waiting(Fleet):
        async def prepare(self, name: str, number: int) -> None:
            await self._wait("prepare")

        async def try_out(self, plan: Plan) -> None:
            await self._wait("try out")

        async def _wait(self, at: str) -> None:
            if at == verb:
                begun.set()
                await asyncio.sleep(60)

    async def killed(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(CANARY)

    async def stopped(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        going_on = asyncio.ensure_future(resumed(rollouts))
        await begun.wait()
        going_on.cancel()
        await asyncio.wait([going_on])

    run(killed, keeper=keeper)
    begun = asyncio.Event()
    run(stopped, Waiting(), keeper)
    record = keeper.read("m")
    assert (record.current is not None, record.ended) == (True, ())


async def rolled_back_unwritten(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> Report:
    """The judge rolls back while nothing can be written."""
    await rollouts.begin(CANARY)
    keeper.fails = "write"
    fleet.now = Seen(stable=answered(90), candidate=answered(5), failed=5)
    rollouts.alarm("m")
    report = await ended(rollouts)
    assert (report.state, fleet.done[-1], rollouts.rolls("m")) == ("rolled back", "give up 2", False)
    assert keeper.read("m").current is not None, "as the disk has it, it goes on"
    return report


def test_an_end_that_could_not_be_written_is_written_as_soon_as_it_can_be(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        report = await rolled_back_unwritten(rollouts, fleet, keeper)
        keeper.fails = ""
        for _ in range(400):
            if keeper.read("m").current is None:
                break
            await asyncio.sleep(0.01)
        assert keeper.read("m") == Record(ended=(report,))
        assert await rollouts.reports("m") == [report]

    run(scene)
    assert "the end of a rollout cannot be written down" in caplog.text
    assert "could not be judged" not in caplog.text


def test_an_end_that_could_not_be_written_is_written_at_the_latest_when_the_server_ends() -> None:
    keeper, fleet = Keeper(), Fleet()

    async def full(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rolled_back_unwritten(rollouts, fleet, keeper)
        keeper.fails = ""

    async def again(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        fleet.done.clear()
        await resumed(rollouts)
        assert (rollouts.rolls("m"), fleet.done) == (False, []), "what was judged bad does not answer again"

    run(full, fleet, keeper)
    assert [report.state for report in keeper.read("m").ended] == ["rolled back"]
    run(again, fleet, keeper)


def test_the_next_rollout_does_not_lose_an_end_that_could_not_be_written() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        report = await rolled_back_unwritten(rollouts, fleet, keeper)
        keeper.fails, fleet.now = "", Seen()
        begun = await rollouts.begin(CANARY)
        assert keeper.read("m") == Record(current=begun, ended=(report,))
        rollouts.close()
        assert keeper.read("m") == Record(current=begun, ended=(report,))

    run(scene)


def test_who_asks_again_for_what_could_not_be_written_goes_no_further_back() -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rollouts.begin(Plan(name="m", candidate=2))
        await rollouts.begin(Plan(name="m", candidate=3, canary=0.1))
        keeper.fails = "write"
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await rollouts.rollback("m")
        keeper.fails = ""
        assert (await rollouts.rollback("m")).plan.candidate == 3
        assert fleet.serving == {"m": 2}
        assert [report.plan.candidate for report in keeper.read("m").ended] == [3, 2]

    run(scene)


def test_a_server_whose_disk_stays_full_ends_and_says_what_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(rollouts: Rollouts, fleet: Fleet, keeper: Keeper) -> None:
        await rolled_back_unwritten(rollouts, fleet, keeper)
        rollouts.close()

    run(scene)
    assert caplog.text.count("the end of a rollout is not written down") == 1
