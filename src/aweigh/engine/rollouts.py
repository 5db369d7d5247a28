"""Rollouts from beginning to end, whoever serves: prepare the candidate beside the stable version, try it, judge it, promote it or roll it back.

One process and a supervisor of many use the same rules through a `Fleet`. A rollout's end is written down before anybody is told that it went well,
and the alias moves only once the candidate has taken over. On an event loop; `Keeper` blocks, and is called on a thread.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import msgspec

from aweigh.core.errors import AweighError, Conflict, InternalError, ModelNotFound, NotFound, NotReady
from aweigh.core.rollout import Plan, Report, Seen, State, check_plan, now_text
from aweigh.engine.judge import done_of, fault_of, since, version_of
from aweigh.engine.rollout_records import Keeper, Records

_LOG: Final = logging.getLogger("aweigh.rollout")
_ROUND_S: Final = 0.1
_SAVE_EVERY: Final = 50
"""Rounds between two times that the figures of a rollout under way are written down."""


class Fleet(Protocol):
    """What serves: one process, or all workers as one. Each verb is done by all of it or, where it raises, by none."""

    def stable(self, name: str) -> int | None:
        """The version that answers a bare name; None where none does."""
        ...

    async def prepare(self, name: str, number: int) -> None:
        """Load a version beside what is served, until it may answer. Raises what loading raises, Conflict while another is loaded."""
        ...

    async def discard(self, name: str, number: int) -> None:
        """Let go of what was prepared."""
        ...

    async def try_out(self, plan: Plan) -> None:
        """What was prepared answers its share, the stable version the rest."""
        ...

    async def take_over(self, name: str, number: int) -> None:
        """What was prepared or tried out answers the name; the version before it ends when it has answered what it took."""
        ...

    async def give_up(self, name: str, number: int) -> None:
        """What is tried out ends when it has answered what it took; the stable version answers all."""
        ...

    async def seen(self, plan: Plan, stable: int) -> tuple[Seen, tuple[str, ...]]:
        """Both versions' counts since they were first loaded, what shadows found, and the last errors of the candidate."""
        ...


class Rollouts:
    """The rollouts of one server, at most one for each name."""

    def __init__(self, fleet: Fleet, keeper: Keeper) -> None:
        self._fleet = fleet
        self._keeper = keeper
        self._reports: dict[str, Report] = {}
        """Those under way."""
        self._recalled: list[Report] = []
        """Those that were under way when the server ended, until they go on."""
        self._before: dict[str, Seen] = {}
        """What both versions had done when their rollout began."""
        self._judging: dict[str, asyncio.Event] = {}
        self._ending: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aweigh-rollouts")
        self._records = Records(keeper, self._thread)

    async def begin(self, plan: Plan, *, why: str = "promoted at once") -> Report:
        """Load the candidate and try it out, or let it take over at once where the plan tries nothing. The report of what was begun, or done.

        Raises InvalidInput, Conflict while the name is rolled out, ModelNotFound, and what loading the candidate raises: nothing has changed then.
        """
        check_plan(plan)
        if not plan.candidate:
            plan = msgspec.structs.replace(plan, candidate=await self._aside(self._keeper.newest, plan.name))
        stable = self._fleet.stable(plan.name)
        if plan.canary or plan.shadow:
            await self._check_trial(plan, stable)
        if (under_way := self._reports.get(plan.name)) is not None:
            candidate = under_way.plan.candidate
            raise Conflict(
                f"model '{plan.name}' is being rolled out to version {candidate}",
                hint="promote it or roll it back before the next one begins",
            )
        report = self._reports[plan.name] = Report(plan=plan, stable=stable or 0, state="loading", began_at=now_text())
        try:
            live = await self._aside(self._keeper.live, plan.name)
            if stable is not None and live is None:
                await self._aside(self._keeper.move, plan.name, stable)  # what is live now has a name from here on
            if stable == plan.candidate and live in (None, stable):
                del self._reports[plan.name]
                return msgspec.structs.replace(report, state="promoted", why="it was live already", ended_at=now_text())
            if stable != plan.candidate:
                await self._fleet.prepare(plan.name, plan.candidate)
        except ModelNotFound:
            del self._reports[plan.name]
            raise  # a slip of the pen is no rollout
        except BaseException as error:
            await self._end(report, "refused", _said(error))
            raise
        return await (self._try(report) if plan.canary or plan.shadow else self._finish(report, why))

    async def promote(self, name: str) -> Report:
        """Let the candidate of the rollout under way take over. Raises NotFound, NotReady while it loads."""
        report = self._under_way(name)
        return await self._finish(await self._looked(report), "promoted by request")

    async def rollback(self, name: str) -> Report:
        """End the rollout under way; where there is none, go back to the version that was live before. Raises NotFound, and what loading raises."""
        if name in self._reports:
            return await self._undo(await self._looked(self._under_way(name)), "rolled back by request")
        if (unwritten := self._records.unwritten(name)) is not None and unwritten.state == "rolled back":
            await self._records.end(unwritten)  # asked again, because it could not be written down
            return unwritten
        record = await self._records.read(name)
        before = record.before(self._fleet.stable(name))
        if before is None:
            raise NotFound(f"model '{name}' has no rollout to go back from", hint=f"'aweigh promote {name}:VERSION' goes to any version")
        return await self.begin(Plan(name=name, candidate=before), why="gone back to by request")

    async def reports(self, name: str = "") -> list[Report]:
        """Those under way and those that ended, newest first, of one name or of all. Raises ModelNotFound for a name that is neither served nor known."""
        names = [name] if name else await self._records.names()
        found: list[Report] = []
        for each in sorted({*names, *([] if name else self._reports)}):
            if (report := self._reports.get(each)) is not None:
                found.append(await self._looked(report))
            found += [known for known in (await self._records.read(each)).ended if known not in found]
        if name and not found and self._fleet.stable(name) is None:
            raise ModelNotFound(f"Request for unknown model: '{name}' is not found", hint="the repository index lists what is served")
        return found

    async def recall(self) -> None:
        """Take up what was under way when the server ended, however it ended: from now on its names are the rollouts' alone. Loads nothing, so it comes
        before the first request; `resume` goes on with it."""
        try:
            for name in await self._records.names():
                with _logged(name):
                    await self._recall(name)
        except AweighError as error:
            _LOG.error("the rollouts that were under way do not go on", extra={"error": error.message, "hint": error.hint})

    async def _recall(self, name: str) -> None:
        report, stable = (await self._records.read(name)).current, self._fleet.stable(name)
        if report is None or stable is None or report.plan.name != name:
            return
        if stable == report.plan.candidate:
            await self._end(report, "promoted", "the server ended just after it had taken over")
            return
        report = self._reports[name] = msgspec.structs.replace(report, state="loading")
        self._recalled.append(report)

    async def resume(self) -> None:
        """Load the candidates of what was recalled, and try them out. One that cannot go on is no reason not to serve. May be cancelled when the server ends:
        what was not tried out yet goes on after the next start."""
        while self._recalled:
            report = self._recalled.pop(0)
            with _logged(report.plan.name):
                await self._resume(report)

    async def _resume(self, report: Report) -> None:
        try:
            await self._fleet.prepare(report.plan.name, report.plan.candidate)
        except AweighError as error:
            await self._end(report, "refused", f"after a restart: {error.message}")
            return
        await self._try(report)

    def rolls(self, name: str) -> bool:
        """Whether a rollout of a name is under way, from its first step to its last: nobody else may change what the name serves."""
        return name in self._reports

    def alarm(self, name: str) -> None:
        """A candidate failed or strayed: judge it now, and not at the next round."""
        if name in self._judging:
            self._judging[name].set()

    def close(self) -> None:
        """Judge no more. What is under way goes on after a restart; what ended does not."""
        for task in self._tasks:
            task.cancel()
        self._records.close()
        self._thread.shutdown(wait=False)

    async def _check_trial(self, plan: Plan, stable: int | None) -> None:
        """Raises NotReady, Conflict, ModelNotFound where the candidate cannot be tried beside the stable version."""
        if stable is None:
            raise NotReady(
                f"model '{plan.name}' has no version that answers: there is nothing to try beside", hint="promote without canary and shadow"
            )
        if stable == plan.candidate:
            raise Conflict(f"version {stable} of '{plan.name}' is the one that answers", hint="name another version")
        await self._aside(self._keeper.check, plan.name, stable, plan.candidate)

    async def _try(self, report: Report) -> Report:
        plan = report.plan
        try:
            if (stable := self._fleet.stable(plan.name)) != report.stable:
                raise Conflict(
                    f"version {report.stable} of '{plan.name}' was to be tried beside, but {stable or 'none'} answers now",
                    hint="begin again",
                )
            self._before[plan.name], _ = await self._fleet.seen(plan, report.stable)
            await self._fleet.try_out(plan)
            report = msgspec.structs.replace(report, state="running")
            self._reports[plan.name] = report
            await self._records.save(report)
        except asyncio.CancelledError:
            raise  # the server ends, and the rollout does not
        except BaseException as error:
            await self._fleet.discard(plan.name, plan.candidate)
            await self._end(report, "refused", _said(error))
            raise
        self._judging[plan.name] = asyncio.Event()
        self._task(self._judge(plan.name))
        _LOG.info(
            "rollout begun",
            extra={"model": plan.name, "stable": report.stable, "candidate": plan.candidate, "canary": plan.canary, "shadow": plan.shadow},
        )
        return report

    async def _judge(self, name: str) -> None:
        """Look again and again until the rollout has ended. Whatever goes wrong in a round, there is a next one."""
        rounds, said = 0, ""
        event = self._judging[name]
        while self._judging.get(name) is event:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), _ROUND_S)
            event.clear()
            rounds += 1
            trouble = ""
            try:
                await self._round(self._reports[name], save=rounds % _SAVE_EVERY == 0)
            except Conflict:
                continue  # it is being ended already
            except AweighError as error:
                trouble = error.message if self._judging.get(name) is event else ""  # that an end cannot be written has been told
            except Exception as error:  # noqa: BLE001  # the judge's boundary: a candidate that nobody judges would answer for ever
                trouble = f"{type(error).__name__}: {error}"
            if trouble and trouble != said:
                _LOG.warning("a rollout could not be judged", extra={"model": name, "error": trouble})
            said = trouble

    async def _round(self, before: Report, *, save: bool) -> None:
        report, seen = await self._look(before)
        if not self._runs(report):
            return
        self._reports[report.plan.name] = report
        if fault := fault_of(seen, report.plan):
            await self._undo(report, fault)
        elif done_of(seen, report.plan):
            await self._finish(report, f"within its bounds for {report.plan.promote_after} requests")
        elif save:
            await self._records.save(report)

    def _runs(self, report: Report) -> bool:
        """Whether that rollout, and no later one of its name, is still tried out."""
        now = self._reports.get(report.plan.name)
        return now is not None and now.plan is report.plan and now.state == "running"

    async def _look(self, report: Report) -> tuple[Report, Seen]:
        """The report with the figures as they are now."""
        plan = report.plan
        now, errors = await self._fleet.seen(plan, report.stable)
        before = self._before.get(plan.name, Seen())
        seen = Seen(
            stable=since(now.stable, before.stable),
            candidate=since(now.candidate, before.candidate),
            compared=now.compared,
            failed=now.failed,
            lost=now.lost,
        )
        mine = msgspec.structs.replace(seen.candidate, failed=seen.failed)
        versions = (version_of(report.stable, seen.stable), version_of(plan.candidate, mine))
        compared = now.compared if plan.shadow else None
        return msgspec.structs.replace(report, versions=versions, compared=compared, errors=errors or report.errors), seen

    async def _looked(self, report: Report) -> Report:
        if report.state != "running":
            return report
        try:
            return (await self._look(report))[0]
        except NotFound:
            return report  # it ends just now: one of the versions has gone, and the figures are those of a moment ago

    async def _finish(self, report: Report, why: str) -> Report:
        """The candidate takes over, and is live. Raises Conflict where it is being ended already."""
        plan = report.plan
        self._claim(report)
        try:
            if report.stable != plan.candidate:
                await self._fleet.take_over(plan.name, plan.candidate)
        except BaseException as error:
            self._ending.discard(plan.name)
            if report.state == "loading":
                await self._fleet.discard(plan.name, plan.candidate)
                await self._end(report, "refused", _said(error))
            raise
        try:
            await self._aside(self._keeper.move, plan.name, plan.candidate)
        except AweighError as error:
            await self._end(report, "promoted", f"{why}, but not for the next start of the server: {error.message}")
            raise
        return await self._end(report, "promoted", why)

    async def _undo(self, report: Report, why: str) -> Report:
        """The stable version answers all again, and stays live. Raises Conflict where it is being ended already."""
        self._claim(report)
        try:
            await self._fleet.give_up(report.plan.name, report.plan.candidate)
        except BaseException:
            self._ending.discard(report.plan.name)
            raise
        return await self._end(report, "rolled back", why)

    def _claim(self, report: Report) -> None:
        """Whoever comes first ends a rollout: the judge, or one of those that ask."""
        name = report.plan.name
        now = self._reports.get(name)
        if now is None or now.plan is not report.plan or not now.open or name in self._ending:
            raise Conflict(f"the rollout of model '{name}' is just being ended", hint="'aweigh rollouts' tells how")
        self._ending.add(name)

    async def _end(self, report: Report, state: State, why: str) -> Report:
        plan = report.plan
        self._reports[plan.name] = ended = msgspec.structs.replace(report, state=state, why=why, ended_at=now_text())
        self._before.pop(plan.name, None)
        if (event := self._judging.pop(plan.name, None)) is not None:
            event.set()
        level = logging.INFO if state == "promoted" else logging.ERROR
        _LOG.log(level, f"rollout {state}", extra={"model": plan.name, "stable": report.stable, "candidate": plan.candidate, "why": why})
        try:
            await self._records.end(ended)
        finally:
            self._reports.pop(plan.name, None)
            self._ending.discard(plan.name)
        return ended

    def _under_way(self, name: str) -> Report:
        report = self._reports.get(name)
        if report is None:
            raise NotFound(f"model '{name}' is not being rolled out", hint=f"begin with a version: promote {name}:VERSION")
        if report.state != "running":
            raise NotReady(f"version {report.plan.candidate} of '{name}' is still being loaded", hint="try again in a moment")
        return report

    async def _aside(self, work: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextlib.contextmanager
def _logged(name: str) -> Iterator[None]:
    """Why a rollout that was under way does not go on."""
    try:
        yield
    except AweighError as error:
        _LOG.error("a rollout that was under way does not go on", extra={"model": name, "error": error.message, "hint": error.hint})


def _said(error: BaseException) -> str:
    return error.message if isinstance(error, AweighError) else InternalError(f"{type(error).__name__}: {error}").message
