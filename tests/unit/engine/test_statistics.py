"""Statistics in shared memory: what one worker counts, all can tell, and a worker that takes a dead one's place goes on."""

import os

import pytest

from aweigh.core.errors import Kind
from aweigh.engine.slab import ACCEPTED, MAX_BATCH_SIZES, MAX_RECORDS, OPEN, REFUSED, Board
from aweigh.engine.statistics import ModelStatistics, SharedStatistics


def fill(done: ModelStatistics, times: int) -> None:
    for at in range(times):
        done.last = 10.0 + at
        done.success(0.001 * (1 + at), 1 + at % 3)
    done.together(0.5, 7, 4)
    done.failure(Kind.INVALID)
    done.queued.observe(0.02)
    done.decoding_s += 0.25
    done.encoding_s += 0.5


def facts(done: ModelStatistics) -> dict[str, object]:
    return {
        "succeeded": done.succeeded,
        "executions": done.executions,
        "rows": done.rows,
        "failed": done.failed,
        "duration": (list(done.duration.counts), round(done.duration.sum_s, 9)),
        "queued": (list(done.queued.counts[: len(done.duration.counts)]), round(done.queued.sum_s, 9)),
        "around": (done.decoding_s, done.encoding_s, done.last),
        "batches": {rows: (calls, round(seconds, 9)) for rows, (calls, seconds, _) in done.batches.items()},
    }


@pytest.fixture
def board() -> object:
    made = Board.create(3)
    yield made
    made.close()


def test_the_total_of_workers_is_what_one_process_would_have_counted(board: Board) -> None:
    alone = ModelStatistics()
    workers = [SharedStatistics(board, slab).of("iris", "1") for slab in board.slabs]
    for times, worker in enumerate(workers, 4):
        fill(alone, times)
        fill(worker, times)
    for worker in workers:
        worker.publish()
    alone.last = max(worker.last for worker in workers)
    assert {str(facts(worker.total())) for worker in workers} == {str(facts(alone))}


def test_counts_are_there_before_anything_is_published(board: Board) -> None:
    ours, theirs = (SharedStatistics(board, slab).of("iris", "1") for slab in board.slabs[:2])
    theirs.success(0.001, 3)
    theirs.success(0.001, 3)
    theirs.failure(Kind.TIMEOUT)
    total = ours.total()
    assert (total.succeeded, total.rows, total.executions, total.failed) == (2, 6, 2, {Kind.TIMEOUT: 1})
    assert sum(total.duration.counts) == 2


def test_a_worker_in_a_dead_ones_place_goes_on_where_that_stopped(board: Board) -> None:
    slab = board.slabs[0]
    dead = SharedStatistics(board, slab).of("iris", "1")
    fill(dead, 5)
    dead.in_flight = 3
    dead.publish()
    slab.cells[OPEN], slab.cells[ACCEPTED], slab.cells[REFUSED] = 7, 8, 9
    slab.clear_gauges()
    assert board.connections() == (0, 8, 9)
    assert dead.total().succeeded == dead.succeeded
    heir = SharedStatistics(board, slab).of("iris", "1")
    assert heir.in_flight == 0
    assert facts(heir) == facts(dead)
    fill(heir, 5)
    assert heir.total().succeeded == heir.succeeded == 2 * dead.succeeded


def test_versions_are_told_apart_and_a_version_loaded_again_goes_on(board: Board) -> None:
    worker = SharedStatistics(board, board.slabs[1])
    worker.of("iris", "1").success(0.1, 1)
    worker.of("iris", "2").success(0.1, 1)
    assert worker.of("iris", "1") is worker.of("iris", "1")
    assert [worker.of("iris", version).total().succeeded for version in ("1", "2", "3")] == [1, 1, 0]


def test_sizes_of_batch_beyond_the_table_are_counted_without_being_told_apart(board: Board) -> None:
    worker = SharedStatistics(board, board.slabs[0]).of("iris", "1")
    for rows in range(1, 2 * MAX_BATCH_SIZES + 1):
        worker.success(0.001, rows)
    worker.publish()
    total = SharedStatistics(board, board.slabs[1]).of("iris", "1").total()
    assert (total.succeeded, total.executions, total.rows) == (worker.succeeded, worker.executions, worker.rows)
    assert len(total.batches) == MAX_BATCH_SIZES


def test_a_full_slab_counts_for_its_worker_alone(board: Board) -> None:
    slab = board.slabs[0]
    slab.cells[6] = MAX_RECORDS
    done = SharedStatistics(board, slab).of("iris", "1")
    done.success(0.1, 1)
    assert done.total() is done


def test_another_process_sees_it() -> None:
    board = Board.create(2)
    SharedStatistics(board, board.slabs[0]).of("iris", "1").success(0.001, 2)
    other = Board(os.dup(board.descriptor), 2)
    assert SharedStatistics(other, other.slabs[1]).of("iris", "1").total().rows == 2
    other.close()
    board.close()
