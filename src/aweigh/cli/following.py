"""A rollout followed until it has ended, drawn anew with every look where there is a terminal. Used by `promote` and `rollouts`."""

import contextlib
import itertools
import sys
from typing import TYPE_CHECKING

from aweigh.cli.options import Run
from aweigh.cli.rollout_text import lines_of
from aweigh.core.rollout import Report

if TYPE_CHECKING:
    from aweigh.app.promotion import Server


def followed(run: Run, server: "Server", begun: Report, timeout_s: float = 0.0) -> Report:
    """Its last report. Raises what `Server.follow` raises; Ctrl-C leaves the rollout as it is."""
    last = begun
    with contextlib.ExitStack() as stack:
        draw = stack.enter_context(run.output.live()) if sys.stdout.isatty() and not run.output.as_json else None
        for report in itertools.chain((begun,), server.follow(begun, timeout_s)):
            last = report
            if draw is not None:
                draw([*lines_of(report), "", "Ctrl-C leaves, and the rollout goes on"])
    return last
