"""The child's side of a contestant: holds one variant, keeps the rows it is timed with, and measures its own calls. Runs only inside an isolated process."""

import contextlib
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.core.errors import InternalError
from aweigh.core.package import Variant
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes import load_session

_STATUS: Final = Path("/proc/self/status")
_PEAK: Final = re.compile(rb"^VmHWM:\s*(\d+) kB$", re.MULTILINE)

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A bare variant, what its runtime takes and gives, and where its files lie."""

    variant: Variant
    signature: Signature
    files: dict[str, str]
    threads: int


def open_contestant(opening: Opening) -> Handler:
    """Load the variant and return its handler. Raises what loading it raises."""
    before, began = _peak_bytes(), perf_counter()
    session = load_session(
        opening.variant, opening.signature, lambda file: Path(opening.files[file]), session_threads=opening.threads, in_child=True
    )
    load_ms = (perf_counter() - began) * 1000
    kept: dict[str, dict[str, Tensor]] = {}
    answers: dict[str, dict[str, Tensor]] = {}

    def handle(said: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """`keep` rows under a name, `run` so many calls of them, let rows `cross` and bring back the answers to them without computing them anew, or tell the `facts`."""
        rows = str(said.get("rows", ""))
        if said["do"] == "keep":
            kept[rows] = {name: np.array(tensor) for name, tensor in tensors.items()}
            return {}, {}
        if said["do"] in {"run", "cross"} and rows not in kept:
            raise InternalError(f"the rows {rows!r} were never sent to this process")
        if said["do"] == "cross":
            if rows not in answers:
                answers[rows] = {str(at): np.array(output) for at, output in enumerate(session.run(kept[rows]))}
            return {}, answers[rows]
        if said["do"] == "run":
            cpu, seconds = _run(session.run, kept[rows], int(said["calls"]))
            return {"cpu_s": cpu}, {"seconds": seconds}
        return {"load_ms": load_ms, "memory_bytes": max(0, _peak_bytes() - before)}, {}

    return handle


def _run(call: Callable[[Tensors], object], rows: dict[str, Tensor], calls: int) -> tuple[float, Tensor]:
    """Processor seconds of all calls, and the seconds of each."""
    seconds = np.empty(calls)
    cpu = process_time()
    for at in range(calls):
        began = perf_counter()
        call(rows)
        seconds[at] = perf_counter() - began
    return process_time() - cpu, seconds


def _peak_bytes(status: Path = _STATUS) -> int:
    """The greatest resident size that this process had. From Linux's own account, which begins anew with each program: `ru_maxrss` holds what the starter's was."""
    with contextlib.suppress(OSError):
        if found := _PEAK.search(status.read_bytes()):
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
