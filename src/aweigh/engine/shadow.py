"""A shadow: calls that the stable version answered are repeated with the candidate, and the answers compared. Nobody waits for it, and it gives way to all.

Lives on the event loop; copies run on the candidate's own executor, or with all comparing on one thread of low priority. Must never fail or delay
a request: nothing whose time grows with an answer, but for copying it, happens on the event loop.
"""

import contextlib
import logging
import os
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from aweigh.core.errors import AweighError, Overloaded
from aweigh.core.rollout import Compared
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.dealing import Dealer
from aweigh.engine.executors import ThreadExecutor
from aweigh.engine.model import LoadedModel
from aweigh.engine.queue import Nobody
from aweigh.engine.statistics import BOUNDS_S, BUCKETS
from aweigh.engine.strays import added, compared, not_answered

_LOG: Final = logging.getLogger("aweigh.rollout")
_MAX_WAITING: Final = 256
_MAX_COPIED_BYTES: Final = 64 * 1024 * 1024
_NICE: Final = 10


class _Copy:
    """A call of the stable version: its tensors, its seconds, those of the candidate, and what comparing found."""

    __slots__ = ("began", "candidate_s", "found", "inputs", "outputs", "size", "stable_s")

    def __init__(self, inputs: Tensors, outputs: list[Tensor], stable_s: float) -> None:
        self.inputs = {name: tensor.copy() for name, tensor in inputs.items()}
        self.outputs = [output.copy() for output in outputs]
        self.stable_s = stable_s
        self.candidate_s = 0.0
        self.began = 0.0
        self.found: Compared | None = None
        self.size = _size(inputs, outputs)


class Shadow:
    """Repeats `share` of the calls of a model of `signature` with `candidate`."""

    def __init__(self, signature: Signature, candidate: LoadedModel, share: float, strayed: Callable[[], None]) -> None:
        """`strayed` is called after a comparison that found a difference, and after a call that failed."""
        self._signature = signature
        self._candidate = candidate
        self._dealer = Dealer(share)
        self._strayed = strayed
        self._waiting: deque[_Copy] = deque()
        self._bytes = 0
        self._busy = self._closed = False
        self._nobody = Nobody(b"shadow")
        self._thread = ThreadExecutor("shadow", threads=1, max_queue=1)
        self._stable_s, self._candidate_s = [0] * BUCKETS, [0] * BUCKETS
        self._found = Compared()

    def observe(self, inputs: Tensors, outputs: list[Tensor], seconds: float) -> None:
        """A call of the stable version; its tensors may change after this. Without `seconds` it is compared, but not timed."""
        if not self._dealer.takes():
            return
        if len(self._waiting) >= _MAX_WAITING or self._bytes + _size(inputs, outputs) > _MAX_COPIED_BYTES:
            self._add(Compared(skipped=1))
            return
        copy = _Copy(inputs, outputs, seconds)
        self._bytes += copy.size
        self._waiting.append(copy)
        self._next()

    def found(self) -> Compared:
        """What the comparison found so far."""
        return msgspec.structs.replace(self._found, stable_s=tuple(self._stable_s), candidate_s=tuple(self._candidate_s))

    @property
    def idle(self) -> bool:
        """Whether everything that was observed has been compared."""
        return not self._busy and not self._waiting

    def close(self) -> None:
        """Repeat no more. What runs is not waited for; until it has ended, it is under way on the candidate."""
        self._closed = self._nobody.cancelled = True
        self._waiting.clear()
        self._thread.close(timeout_s=0.0)

    def _next(self) -> None:
        if self._busy or self._closed or not self._waiting:
            return
        copy = self._waiting.popleft()
        self._bytes -= copy.size
        copy.began = time.monotonic()
        own = self._candidate.threads
        try:
            if own is None:
                self._thread.submit(partial(self._repeat, copy), self._nobody, partial(self._ran, copy))
            else:
                own.submit(partial(self._candidate.run, copy.inputs), self._nobody, partial(self._ran, copy))
        except Overloaded:  # it has enough to do
            self._add(Compared(skipped=1))
        except AweighError as error:
            self._end(copy, error)
        else:
            self._busy = True
            self._candidate.statistics.in_flight += 1  # whoever closes the candidate waits for it

    def _ran(self, copy: _Copy, outputs: list[Tensor] | None, error: AweighError | None, waited: float) -> None:
        self._candidate.statistics.in_flight -= 1
        if outputs is not None and copy.found is None and not self._closed:
            copy.candidate_s = time.monotonic() - copy.began - waited
            self._thread.submit(partial(self._compare, copy, outputs), self._nobody, partial(self._compared, copy))
        else:
            self._compared(copy, outputs, error, waited)

    def _compared(self, copy: _Copy, _: list[Tensor] | None, error: AweighError | None, __: float) -> None:
        self._busy = False
        if not self._closed:
            self._end(copy, error)
            self._next()

    def _end(self, copy: _Copy, error: AweighError | None) -> None:
        """Add what was found, or that the candidate failed."""
        found = copy.found
        if found is None:
            found = not_answered(self._signature, copy.inputs, copy.outputs, error.message if error is not None else "")
        elif copy.stable_s:
            self._stable_s[bisect_left(BOUNDS_S, copy.stable_s)] += 1
            self._candidate_s[bisect_left(BOUNDS_S, copy.candidate_s)] += 1
        strayed = found.failed or found.flips or found.mismatches or found.max_abs > self._found.max_abs
        self._add(found)
        if strayed:
            self._strayed()

    def _repeat(self, copy: _Copy) -> list[Tensor]:
        return self._compare(copy, _gently(self._candidate, copy))

    def _compare(self, copy: _Copy, outputs: list[Tensor]) -> list[Tensor]:
        """On the thread."""
        try:
            copy.found = compared(self._signature, copy.inputs, copy.outputs, outputs)
        except (ValueError, TypeError) as error:
            _LOG.warning("a candidate's answer cannot be compared", exc_info=True, extra={"model": self._candidate.name})
            copy.found = not_answered(self._signature, copy.inputs, copy.outputs, f"its answer cannot be compared: {error}")
        return outputs

    def _add(self, found: Compared) -> None:
        self._found = added((self._found, found))


def _size(inputs: Tensors, outputs: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in (*inputs.values(), *outputs))


def _gently(candidate: LoadedModel, copy: _Copy) -> list[Tensor]:
    """Run a copy on a thread that gives way, and time it by its own clock: how long it had to give way says nothing of the model."""
    with contextlib.suppress(OSError, AttributeError):  # not everywhere can a thread be of lower priority
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    began = time.thread_time()
    outputs = candidate.run(copy.inputs)
    copy.candidate_s = time.thread_time() - began
    return outputs
