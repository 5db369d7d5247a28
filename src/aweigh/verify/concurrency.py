"""Concurrency: does a session that takes several callers at once answer each as it answers it alone? Gates: such a session is called so."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final

from aweigh.core.compare import compare
from aweigh.core.errors import AweighError
from aweigh.core.evidence import Check
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.verify.parity import CaseRun, finite

_CALLERS: Final = 4
_CALLS: Final = 32
_BUDGET_S: Final = 1.0
_MAX_ROWS: Final = 64
NAME: Final = "concurrency"


def concurrency(session: Session, signature: Signature, runs: Sequence[CaseRun]) -> Check:
    """Cases of unlike sizes, asked by four callers at once, each held to its own answer from before."""
    ran = sorted((run for run in runs if run.actual is not None and run.case.rows <= _MAX_ROWS), key=lambda run: run.case.rows)
    if not session.concurrent:
        return Check(name=NAME, passed=True, note="the session takes one call at a time, and is called so")
    if not ran:
        return Check(name=NAME, passed=True, note="no case could be run")
    ends = monotonic() + _BUDGET_S

    def ask(call: int) -> tuple[str, float, bool] | None:
        run = ran[call % len(ran)]
        if call >= _CALLERS and monotonic() > ends:
            return None
        try:
            difference = compare(signature.outputs, run.actual or [], session.run(run.case.inputs))
        except AweighError as error:
            return f"case '{run.case.name}' raised {type(error).__name__}: {error}", 0.0, False
        return run.case.name, max((output.max_abs for output in difference.outputs), default=0.0), difference.agrees

    with ThreadPoolExecutor(_CALLERS) as pool:
        answers = [answer for answer in pool.map(ask, range(_CALLS)) if answer is not None]
    failed = list(dict.fromkeys(name for name, _, agrees in answers if not agrees))
    figures = {"callers": float(_CALLERS), "calls": float(len(answers)), "max_abs": finite(max(gap for _, gap, _ in answers))}
    return Check(name=NAME, passed=not failed, figures=figures, note=f"differs beside other callers: {', '.join(failed)}" if failed else "")
