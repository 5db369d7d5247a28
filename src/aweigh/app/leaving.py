"""How a serving process ends. Native code that runs in a thread cannot be stopped, and an interpreter that ends beneath it crashes: where any runs still,
the process leaves without taking its house down.

Used by `serve` and `worker`, around everything that serves.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Final, Protocol

from aweigh.engine.control import ModelControl
from aweigh.engine.dataplane import DataPlane

_LOG: Final = logging.getLogger("aweigh.server")
LOADING: Final = "aweigh-load"
"""Name of the thread on which a server of one process loads what it begins with."""


class Closable(Protocol):
    """Whatever is closed."""

    def close(self) -> None: ...


@contextlib.contextmanager
def closed_at_the_end(dataplane: DataPlane, control: ModelControl, *others: Closable) -> Iterator[None]:
    """Close these; or end the process at once where a call or a load runs on although its time is up."""
    code: object = 0
    failed = True
    try:
        yield
        failed = False
    except SystemExit as asked:
        code, failed = asked.code, False
        raise
    finally:
        if not failed and (dataplane.in_flight or control.busy or any(thread.name == LOADING for thread in threading.enumerate())):
            _LOG.warning("ending although native code still runs", extra={"calls": dataplane.in_flight})
            logging.shutdown()
            sys.stdout.flush()
            os._exit(code if isinstance(code, int) else 1)
        closable: tuple[Closable, ...] = (control, dataplane, *others)
        for each in closable:
            each.close()
