"""One loaded model: a session that has replayed its golden set on this machine, where it runs, and what it has done."""

import dataclasses
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aweigh.core.names import Digest, ModelName
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.acceptance import Acceptance
from aweigh.engine.batching.joined import Joiner, Observe
from aweigh.engine.batching.queue import BatchQueue, QueuePolicy
from aweigh.engine.batching.tuner import Tuner
from aweigh.engine.executors import Executor
from aweigh.engine.processes import ProcessExecutor, ProcessFacts
from aweigh.engine.response_cache import ResponseCache, Responses
from aweigh.engine.statistics import ModelStatistics

if TYPE_CHECKING:
    from aweigh.engine.pipelines.plan import Node

PRIVATE: Final = "private to the process"


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
    batch_rows: int = 0
    """Most rows of several requests that run together; 0 where each request runs by itself."""
    batching: str = ""
    """Why so many, or why none."""
    variant_why: str = ""
    """Why this variant of the package."""
    weights: str = PRIVATE
    """Where the model's weights lie, and what sharing them costs."""
    uncached: str = ""
    """Why answers are not kept for equal requests; empty where they may be."""
    memory_bytes: int = 0
    """What loading it added to the memory of this process, and of those that run it; at least the size of its files."""
    loaded_at: float = 0.0
    """In seconds of `perf_counter`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A model that is ready to answer. Without `threads` everything runs inline."""

    name: ModelName
    version: str
    digest: Digest
    signature: Signature
    variant: Variant
    session: Session
    threads: Executor | None
    """What runs calls beside the event loop: threads, or processes."""
    report: LoadReport
    inline_rows: int = -1
    """Requests of up to this many rows run on the event loop, larger ones on threads: a large batch must not hold up the others."""
    turn_rows: int = 0
    """Rows of requests on the event loop that run together when they arrive in one turn of it; 0 where each runs by itself."""
    waits: QueuePolicy | None = None
    """How requests for `threads` wait to be put together; None where each runs by itself."""
    tuner: Tuner | None = None
    padded: bool = False
    """Whether requests may be padded to run together."""
    cacheable: bool = False
    """Whether answers may be kept for equal requests."""
    statistics: ModelStatistics = dataclasses.field(default_factory=ModelStatistics)
    prepared: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What a dialect has encoded beforehand for this model, by the dialect's name; lives exactly as long as the model."""
    steps: "tuple[Node, ...]" = ()
    """Of a pipeline: its steps, in order."""
    answers: tuple[tuple[str, str], ...] = ()
    """Of a pipeline: its outputs, and where each comes from."""
    release: Callable[[], None] | None = None
    """What lets go of session and threads where others stand on them too; None for a model that has them alone."""
    leave: Callable[[], bool] | None = None
    """Says, once, that it asks its session no more, and learns whether no other does. None for a model that has it alone."""

    run: Callable[[Tensors], list[Tensor]] = dataclasses.field(init=False)
    """The session's `run`, bound once."""
    acceptance: Acceptance = dataclasses.field(init=False)
    joiner: Joiner = dataclasses.field(init=False)
    queue: BatchQueue | None = dataclasses.field(init=False)
    responses: Responses | None = dataclasses.field(init=False, default=None)
    """Its part of the response cache; None without one."""
    observe: Observe | None = dataclasses.field(init=False, default=None)
    """Told of every call that answered: its inputs, its outputs, its seconds; of requests that ran together as of one call. On the event loop; must not keep the tensors. None: nobody."""
    ended: bool = dataclasses.field(init=False, default=False)
    """Whether it is closed, or about to be: it is not to be asked any more."""
    carried: bool = dataclasses.field(init=False)
    """Whether dialects may carry its requests through a turn by themselves: without a response cache, which only the data plane asks."""
    immediate_rows: int = dataclasses.field(init=False)
    """Requests of up to this many rows are answered by `DataPlane.run` at once; -1 where all wait, for a turn's end or for a thread."""

    def __post_init__(self) -> None:
        if self.threads is None:
            object.__setattr__(self, "inline_rows", sys.maxsize)
        object.__setattr__(self, "immediate_rows", -1 if self.turn_rows else self.inline_rows)
        object.__setattr__(self, "carried", bool(self.turn_rows))
        object.__setattr__(self, "run", self.session.run)
        object.__setattr__(self, "acceptance", Acceptance(self.signature))
        object.__setattr__(self, "joiner", Joiner(self.signature, padded=self.padded))
        object.__setattr__(self, "queue", self._queue())

    def _queue(self) -> BatchQueue | None:
        if self.waits is None or self.tuner is None or self.threads is None:
            return None
        return BatchQueue(self.name, self.session.run, self.threads, self.statistics, self.waits, self.joiner, self.tuner)

    def remember(self, cache: ResponseCache) -> None:
        """Keep answers from now on."""
        made = cache.of(self.digest, self.variant.name, self.version, self.signature, self.statistics)
        object.__setattr__(self, "responses", made)
        object.__setattr__(self, "carried", False)

    def watch(self, observe: Observe | None) -> None:
        """Tell of every call from now on, or no more."""
        object.__setattr__(self, "observe", observe)
        if self.queue is not None:
            self.queue.observe = observe

    def weigh(self, memory_bytes: int, loaded_at: float) -> None:
        """Note what it takes, which is known when it is there."""
        object.__setattr__(self, "report", dataclasses.replace(self.report, memory_bytes=memory_bytes, loaded_at=loaded_at))

    def forget(self) -> None:
        """Let go of the answers that were kept, and keep no more."""
        if self.responses is not None:
            self.responses.drop()

    def refuse(self) -> None:
        """Refuse what waits in the queue, and in those of a pipeline's steps where nobody else asks them. On the event loop, before `close`."""
        object.__setattr__(self, "ended", True)
        if self.queue is not None:
            self.queue.close()
        if self.leave is not None and not self.leave():
            return
        for step in self.steps:
            if step.model is not None:
                step.model.refuse()

    @property
    def ready(self) -> bool:
        """Whether a request would be answered: not while its process dies again and again."""
        return self.threads is None or self.threads.ready

    @property
    def processes(self) -> ProcessFacts | None:
        """The processes that run it now; None where it runs in the server's own."""
        return self.threads.facts() if isinstance(self.threads, ProcessExecutor) else None

    @property
    def pids(self) -> list[int]:
        """The processes that run it and its steps."""
        mine = self.processes
        return [
            *(mine.pids if mine is not None else ()),
            *(pid for step in self.steps if step.model is not None for pid in step.model.pids),
        ]

    def close(self) -> None:
        """Stop the executor, then release the session; where others stand on them, only let go of them. May be called twice."""
        self.prepared.clear()  # what is bound to the session, and what refers to this model: its memory must not wait for the collector
        if self.release is not None:
            release = self.release
            object.__setattr__(self, "release", _released)
            release()
            return
        if self.threads is not None:
            self.threads.close()
        self.session.close()


def _released() -> None:
    """What is let go of once is not let go of again."""
