"""One process as a rollout sees it: the candidate beside the stable version in its data plane. A worker of several does with it as its supervisor says."""

import asyncio
from collections.abc import Callable
from typing import Any

from aweigh.core.errors import AweighError, Conflict, NotFound
from aweigh.core.rollout import Plan, Seen
from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.judge import counted
from aweigh.engine.model import LoadedModel
from aweigh.engine.trial import Trial


class OneProcess:
    """The candidates that this process has prepared, or tries out."""

    def __init__(self, dataplane: DataPlane, control: ModelControl) -> None:
        self._dataplane = dataplane
        self._control = control
        self.alarm: Callable[[str], None] = _nobody
        """Told the name when its candidate has failed or strayed."""
        self._prepared: dict[tuple[str, int], LoadedModel] = {}
        self._trials: dict[str, Trial] = {}

    def stable(self, name: str) -> int | None:
        model = self._dataplane.meant(name)
        version = model.version if model is not None else self._dataplane.asleep.default(name)
        return int(version) if version else None

    async def prepare(self, name: str, number: int) -> None:
        """Load a version and hold it. Raises what loading raises."""
        self._prepared[(name, number)] = await loaded(self._control, name, number)

    async def discard(self, name: str, number: int) -> None:
        model = self._prepared.pop((name, number), None)
        if model is not None:
            self._control.discard(model)

    async def try_out(self, plan: Plan) -> None:
        """Let what was prepared, or is loaded already, answer its share. What the bare name means is loaded first where it is asleep; raises what that raises."""
        if asleep := self._dataplane.asleep.default(plan.name):
            self._control.join(await loaded(self._control, plan.name, int(asleep)), default=True)
        stable = self._dataplane.find(plan.name)
        if stable.version == str(plan.candidate):
            raise Conflict(f"version {plan.candidate} of '{plan.name}' answers already", hint="try another version")
        candidate = self._prepared.pop((plan.name, plan.candidate), None)
        if candidate is not None:
            self._control.join(candidate, default=False)
        else:
            candidate = self._dataplane.find(plan.name, str(plan.candidate))
        self.end(plan.name)
        trial = self._trials[plan.name] = Trial(self._dataplane, stable, candidate, plan, lambda: self.alarm(plan.name))
        self._control.rolling[plan.name] = plan
        trial.begin()

    async def take_over(self, name: str, number: int) -> None:
        prepared = self._prepared.pop((name, number), None)
        if prepared is not None:
            self._control.take_over(prepared)
            return
        trial = self._trials.get(name)
        if trial is None or trial.plan.candidate != number:
            raise NotFound(f"version {number} of '{name}' is not tried out", hint="begin a rollout of it")
        self.end(name)
        self._dataplane.prefer(name, trial.candidate.version)
        self._control.drop(trial.stable)

    async def give_up(self, name: str, number: int) -> None:
        trial = self._trials.get(name)
        self.end(name)
        if trial is not None:
            self._control.drop(trial.candidate)

    async def seen(self, plan: Plan, stable: int) -> tuple[Seen, tuple[str, ...]]:
        return self.look(plan, stable)

    def look(self, plan: Plan, stable: int) -> tuple[Seen, tuple[str, ...]]:
        """What all workers' counts are, and what this process's shadow found."""
        trial = self._trials.get(plan.name)
        loaded = self._dataplane.loaded
        answering = trial.stable if trial is not None else loaded(plan.name, str(stable))
        prepared = self._prepared.get((plan.name, plan.candidate)) or loaded(plan.name, str(plan.candidate))
        candidate = trial.candidate if trial is not None else prepared
        seen = Seen(
            stable=counted(answering.statistics.total()) if answering is not None else Seen().stable,
            candidate=counted(candidate.statistics.total()) if candidate is not None else Seen().candidate,
            compared=trial.compared() if trial is not None else Seen().compared,
            failed=trial.failures if trial is not None else 0,
        )
        return seen, trial.errors if trial is not None else ()

    def end(self, name: str) -> None:
        """Deal out no more; whatever was tried out stays as it is."""
        trial = self._trials.pop(name, None)
        self._control.rolling.pop(name, None)
        if trial is not None:
            trial.end()

    def trials(self) -> list[str]:
        """The names under which something is tried out."""
        return list(self._trials)

    def tried(self, name: str) -> int | None:
        """The version that is tried out."""
        return self._trials[name].plan.candidate if name in self._trials else None


def _nobody(name: str) -> None:
    """Told where nobody judges."""


async def loaded(control: ModelControl, name: str, number: int, *, first: bool = False, evicts: bool = True) -> LoadedModel:
    """A version, loaded beside what is served, as `ModelControl.prepare` does. Raises what loading raises."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(model: Any, error: AweighError | None) -> None:
        if future.cancelled():
            if model is not None:
                control.discard(model)
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(model)

    control.prepare(name, number, done, first=first, evicts=evicts)
    model: LoadedModel = await future
    return model
