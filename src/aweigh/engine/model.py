"""One loaded model: a session that has replayed its golden set on this machine, where it runs, and what it has done."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from aweigh.core.names import Digest, ModelName
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.acceptance import Acceptance
from aweigh.engine.executors import ThreadExecutor
from aweigh.engine.statistics import ModelStatistics


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What loading took and found, in milliseconds and microseconds; shown in the log, in metadata and by `aweigh serve`."""

    load_ms: float
    replay_ms: float
    golden_cases: int
    call_us: float
    """Median of one warmed-up call with one row."""
    inline_rows: int
    """Largest request that runs on the event loop; -1 where none does."""
    executor: str
    why: str
    """Why this executor."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that is ready to answer. Without `threads` everything runs inline."""

    name: ModelName
    version: str
    digest: Digest
    signature: Signature
    variant: Variant
    session: Session
    threads: ThreadExecutor | None
    report: LoadReport
    inline_rows: int = -1
    """Requests of up to this many rows run on the event loop, larger ones on threads: a large batch must not hold up the others."""
    statistics: ModelStatistics = dataclasses.field(default_factory=ModelStatistics)
    prepared: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What a dialect has encoded beforehand for this model, by the dialect's name; lives exactly as long as the model."""

    run: Callable[[Tensors], list[Tensor]] = dataclasses.field(init=False)
    """The session's `run`, bound once."""
    acceptance: Acceptance = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        if self.threads is None:
            object.__setattr__(self, "inline_rows", sys.maxsize)
        object.__setattr__(self, "run", self.session.run)
        object.__setattr__(self, "acceptance", Acceptance(self.signature))

    def close(self) -> None:
        """Stop the executor, then release the session."""
        if self.threads is not None:
            self.threads.close()
        self.session.close()
