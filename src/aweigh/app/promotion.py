"""Moving a name from version to version, as a person asks for it: through the server that runs, or in the store for the next one that starts."""

import time
from collections.abc import Iterator
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from aweigh.app.packages import open_store
from aweigh.app.rollouts import Rolled
from aweigh.app.running import Running
from aweigh.core.errors import AweighError, Conflict, DeadlineExceeded, Kind, ModelNotFound, NotFound, Unavailable, Unsupported
from aweigh.core.names import Reference, model_name
from aweigh.core.rollout import Plan, Report, check_plan, now_text
from aweigh.core.settings import Settings

_POLL_S: Final = 0.25
_PATIENCE_S: Final = 30.0
"""How long a server that a rollout is followed on may be away: it goes on with it when it is back."""
_LEAST_LOAD_S: Final = 60.0
_DAY_S: Final = 24 * 3600.0
_FOREVER: Final = float("inf")
_Form = TypeVar("_Form")


class Server:
    """The rollouts of a running server."""

    def __init__(self, settings: Settings, url: str = "") -> None:
        self._running = Running(settings, url)
        self._load_s = max(_LEAST_LOAD_S, settings.load_timeout_s or _DAY_S)

    def begin(self, plan: Plan) -> Report:
        """Begin a rollout; where the plan tries nothing, the report is that of its end. Raises what the server says, once the candidate is loaded."""
        check_plan(plan)
        document = {name: value for name, value in msgspec.to_builtins(plan).items() if name != "name"}
        return self._changed(plan.name, "", document)

    def promote(self, name: str) -> Report:
        """Let the candidate under way take over; where none is, the newest version at once."""
        try:
            return self._changed(name, "/promote", {})
        except ModelNotFound:
            raise
        except NotFound:  # nothing is under way
            return self.begin(Plan(name=name))

    def rollback(self, name: str) -> Report:
        """End the rollout under way, or go back to the version that was live before."""
        return self._changed(name, "/rollback", {})

    def reports(self, name: str = "") -> list[Report]:
        """Those under way and those that ended, newest first."""
        return self._decoded(self._running.get(f"/rollouts/{quote(name, safe='')}" if name else "/rollouts"), list[Report])

    def follow(self, begun: Report, timeout_s: float = 0.0) -> Iterator[Report]:
        """The rollout again and again until it has ended. Raises DeadlineExceeded, and Unavailable when the server is away for too long."""
        name, until, away_since = begun.plan.name, time.monotonic() + (timeout_s or _FOREVER), 0.0
        report = begun
        while report.open:
            if time.monotonic() >= until:
                raise DeadlineExceeded(
                    f"the rollout of '{name}' has not ended within {timeout_s:g} s", hint=f"it goes on: 'aweigh rollouts {name}' shows it"
                )
            time.sleep(_POLL_S)
            try:
                report = next((each for each in self.reports(name) if _same(each, begun)), report)
                away_since = 0.0
            except AweighError as error:
                away_since = away_since or time.monotonic()
                if error.kind is not Kind.UNAVAILABLE or time.monotonic() - away_since > _PATIENCE_S:
                    raise
            yield report

    def _changed(self, name: str, verb: str, document: object) -> Report:
        try:
            said = self._running.post(f"/rollouts/{quote(name, safe='')}{verb}", document, timeout_s=self._load_s)
        except Unavailable as error:
            if not error.context:
                raise  # the server's own
            hint = (
                f"start one: 'aweigh serve {name}'; --url or --port names another; --store-only changes which version the next one serves"
            )
            raise Unavailable(error.message, hint=hint) from error
        return self._decoded(said, Report)

    def _decoded(self, said: bytes, form: type[_Form]) -> _Form:
        try:
            return msgspec.json.decode(said, type=form)
        except msgspec.DecodeError as error:
            raise Unsupported(f"what answers at {self._running.place} is no aweigh server of this version: {error}") from error


def promote_in_store(settings: Settings, reference: Reference, *, why: str = "promoted in the store, for the next start") -> Report:
    """Let the version be live for the next server that starts, and write down what was before. Raises ModelNotFound, Conflict."""
    kept = Rolled(settings)
    number = open_store(settings).open(reference).reference.version or 1
    record = kept.read(reference.name)
    if record.current is not None:
        raise Conflict(
            f"version {record.current.plan.candidate} of '{reference.name}' is being tried out by a server",
            hint=f"end that first: 'aweigh rollback {reference.name}', with --store-only where the server is gone",
        )
    before = kept.live(reference.name) or kept.newest(reference.name)
    kept.move(reference.name, number)
    now = now_text()
    report = Report(
        plan=Plan(name=reference.name, candidate=number),
        stable=before,
        state="promoted",
        began_at=now,
        ended_at=now,
        why=why,
    )
    if before != number:
        kept.write(reference.name, record.with_end(report))
    return report


def rollback_in_store(settings: Settings, name: str) -> Report:
    """Give up what was under way when the server ended, or let the version be live again that was before. Raises NotFound, ModelNotFound."""
    kept = Rolled(settings)
    record = kept.read(name)
    if (current := record.current) is not None:
        ended = msgspec.structs.replace(
            current, state="rolled back", why="rolled back in the store, for the next start", ended_at=now_text()
        )
        kept.write(name, record.with_end(ended))
        return ended
    live = kept.live(name) or kept.newest(name)
    before = record.before(live)
    if before is None:
        raise NotFound(
            f"nothing says which version of '{name}' was live before version {live}",
            hint=f"'aweigh promote {name}:VERSION --store-only' goes to any version",
        )
    return promote_in_store(settings, Reference(name=model_name(name), version=before), why="gone back to in the store, for the next start")


def _same(one: Report, other: Report) -> bool:
    return (one.plan.candidate, one.began_at) == (other.plan.candidate, other.began_at)
