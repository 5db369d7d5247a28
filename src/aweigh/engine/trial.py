"""A rollout within one process: deals the requests of a name to its two versions, repeats calls for the comparison, and says what happened."""

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from aweigh.core.errors import Kind
from aweigh.core.rollout import Compared, Plan
from aweigh.engine.choice import NOT_THE_CALLERS, Asker, Failure
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.dealing import Dealer
from aweigh.engine.model import LoadedModel
from aweigh.engine.shadow import Shadow

_MAX_ERRORS: Final = 5
_ALARM_ROUND_S: Final = 0.02


class Trial:
    """From `begin` to `end` the candidate of `plan` answers its share of the requests. On the event loop."""

    def __init__(self, dataplane: DataPlane, stable: LoadedModel, candidate: LoadedModel, plan: Plan, alarm: Callable[[], None]) -> None:
        """`alarm` is called soon after the candidate has failed or strayed: it is time to judge."""
        self.plan = plan
        self.stable = stable
        self.candidate = candidate
        self.failures = 0
        """Requests that the candidate failed, less those that the stable version then refused as well, as malformed or because both were overloaded."""
        self._errors: dict[bytes, str] = {}
        """What the candidate said to the last requests that it failed, by their ids."""
        self._dataplane = dataplane
        self._alarm = alarm
        self._alarmed = False
        self._sticky = plan.sticky.lower().encode()
        self._dealer = Dealer(plan.canary)
        self._shadow = Shadow(stable.signature, candidate, plan.shadow, self._sound) if plan.shadow else None

    def begin(self) -> None:
        """Deal out from now on."""
        if self.plan.canary:
            self._dataplane.routing.split(self.plan.name, self)
        if self._shadow is not None:
            self.stable.watch(self._shadow.observe)

    def end(self) -> None:
        """Deal out no more; both versions are left as they are."""
        self._dataplane.routing.split(self.plan.name, None)
        self.stable.watch(None)
        if self._shadow is not None:
            self._shadow.close()

    def order(self, caller: Asker) -> tuple[LoadedModel, ...]:
        """Who answers a request: always the same for one value of the sticky header. The stable version stands in for the candidate."""
        key = caller.header(self._sticky) if self._sticky else None
        if key is None:
            tried = self._dealer.takes()
        else:
            tried = int.from_bytes(blake2b(key, digest_size=8).digest(), "big") / 2**64 < self.plan.canary
        return (self.candidate, self.stable) if tried and self.candidate.ready else (self.stable,)

    def tries(self, model: LoadedModel) -> bool:
        return model is self.candidate

    @property
    def errors(self) -> tuple[str, ...]:
        """What the candidate said to the last requests that it failed, with their ids."""
        return tuple(f"{said} (request {request.decode(errors='replace')})" for request, said in self._errors.items())

    def failed(self, failure: Failure) -> None:
        """What both versions refuse is the request's own fault, or that of how many there are. Other failures of the stable version count as its own."""
        if failure.model is self.candidate:
            self.failures += 1
            self._errors[failure.request] = failure.error.message
            if len(self._errors) > _MAX_ERRORS:
                del self._errors[next(iter(self._errors))]
            self._sound()
        elif failure.model is self.stable and failure.before is not None:
            full = failure.error.kind is failure.before is Kind.OVERLOADED
            if full or failure.error.kind not in NOT_THE_CALLERS:
                self.failures -= 1
                self._errors.pop(failure.request, None)

    def compared(self) -> Compared:
        """What the shadow found."""
        return self._shadow.found() if self._shadow is not None else Compared()

    def _sound(self) -> None:
        if not self._alarmed:
            self._alarmed = True
            asyncio.get_running_loop().call_later(_ALARM_ROUND_S, self._sounded)

    def _sounded(self) -> None:
        self._alarmed = False
        self._alarm()
