"""What batching of a model does now, for those who watch it: the limit and its reason, what the tuner decided, sizes, and the queue's share."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aweigh.engine.model import LoadedModel
    from aweigh.engine.statistics import ModelStatistics


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """Of one loaded model. `waiting` and what the tuner knows are this process's; the other figures add up over all workers."""

    limit_rows: int
    """Most rows of several requests that may run together; 0 for none."""
    why: str
    chosen_rows: int
    """Most that run together now."""
    chosen_why: str
    call_us: float
    row_us: float
    """What a batch costs as last fitted: a call, and each row."""
    measured_ms: float
    """The objective's percentile as last measured; 0 without one."""
    waiting: int
    executions: int
    rows_per_execution: float
    queue_share: float
    """Of the time from a request's tensors to its outputs, what was waiting."""


def batch_facts(model: "LoadedModel", done: "ModelStatistics") -> BatchFacts:
    """The facts, from a model and its statistics (`total()` for those of all workers)."""
    report, queue = model.report, model.queue
    decision = queue.tuner.decision if queue is not None else None
    seconds = done.duration.sum_s
    return BatchFacts(
        limit_rows=report.batch_rows,
        why=report.batching,
        chosen_rows=decision.max_rows if decision else model.turn_rows,
        chosen_why=decision.why if decision else "requests of one turn of the event loop run together" if model.turn_rows else "",
        call_us=round(decision.call_us, 1) if decision else report.call_us,
        row_us=round(decision.row_us, 2) if decision else 0.0,
        measured_ms=round(decision.measured_ms, 2) if decision else 0.0,
        waiting=queue.waiting if queue is not None else 0,
        executions=done.executions,
        rows_per_execution=round(done.rows / done.executions, 2) if done.executions else 0.0,
        queue_share=round(min(1.0, done.queued.sum_s / seconds), 3) if seconds else 0.0,
    )
