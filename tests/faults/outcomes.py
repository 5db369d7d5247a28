"""What became of the requests of a load: each one's end, and what a test wants to know of all of them."""

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np

_SERVER_FAULTS = frozenset({"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "UNKNOWN", "ABORTED", "RESOURCE_EXHAUSTED", "DATA_LOSS"})


@dataclasses.dataclass(slots=True, frozen=True)
class Outcome:
    """What became of one request. Times are of `monotonic`."""

    kind: str
    """ok; refused (a status that is no success); wrong (a success that is not right); reset, closed, timeout, unconnected (no answer at all);
    unprocessed (the server said that it has not begun: GOAWAY or REFUSED_STREAM, which gRPC clients send again by themselves)."""
    due: float
    sent: float
    ended: float
    status: str = ""
    """HTTP's code or gRPC's name; empty without an answer."""
    version: str = ""
    """Of the model that answered, where it is ok."""
    retry_after: bool = False
    """Whether the answer says when to come again. Over gRPC that is what UNAVAILABLE means."""
    detail: str = ""

    @property
    def lost(self) -> bool:
        """No answer, a wrong one, or one that says that the server failed."""
        return self.kind not in {"ok", "refused"} or self.status.startswith("5") or self.status in _SERVER_FAULTS

    @property
    def latency_s(self) -> float:
        """From when it was due."""
        return self.ended - self.due


class Outcomes:
    """Of all requests that have ended so far. Written by one thread, read by another."""

    def __init__(self) -> None:
        self.all: list[Outcome] = []

    def of(self, kind: str) -> list[Outcome]:
        return [outcome for outcome in list(self.all) if outcome.kind == kind]

    @property
    def right(self) -> int:
        """Requests that were answered rightly."""
        return len(self.of("ok"))

    @property
    def lost(self) -> list[Outcome]:
        """Requests without an answer, or with one that says that the server failed."""
        return [outcome for outcome in list(self.all) if outcome.lost]

    def ends(self) -> Counter[str]:
        """How many requests came to which end: kind, and status where there was one."""
        return Counter(f"{outcome.kind} {outcome.status}".strip() for outcome in list(self.all))

    def versions(self) -> Counter[str]:
        """Right answers by the version that gave them."""
        return Counter(outcome.version for outcome in self.of("ok"))

    def told(self) -> str:
        """For the message of an assertion: the ends, and what the first lost ones said."""
        return f"{dict(self.ends())}, first lost: {[(each.kind, each.status, each.detail) for each in self.lost[:3]]}"

    def percentile_s(
        self, percent: float, *, since: float = 0.0, until: float = float("inf"), which: Callable[[Outcome], bool] | None = None
    ) -> float:
        """A percentile of the latencies of requests that were due between two times; of right answers, unless `which` says otherwise."""
        wanted = which or (lambda outcome: outcome.kind == "ok")
        found = [each.latency_s for each in list(self.all) if since <= each.due < until and wanted(each)]
        return float(np.percentile(found, percent)) if found else float("nan")
