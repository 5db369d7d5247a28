"""Log lines about requests that the server turns away: the first of a cause at once, then one a second with their number.

Called by `outcome` for what comes in floods, where a line each would cost more than the requests do. Must never hold a line back for longer.
"""

import asyncio
import dataclasses
import logging
from typing import Final

from aweigh.core.errors import AweighError
from aweigh.serve.message import Request

_LOG: Final = logging.getLogger("aweigh.request")
_EVERY_S: Final = 1.0
_MOST_CAUSES: Final = 64
"""Causes that are told apart: a path may be anything that a peer likes."""
Cause = tuple[str, str]
"""The error's code and the request's path."""


@dataclasses.dataclass(slots=True)
class _Repeated:
    """What came since the last line of its cause, on this loop. `message` and `request_id` are the latest one's."""

    loop: asyncio.AbstractEventLoop
    times: int = 0
    message: str = ""
    request_id: str = ""


_repeated: Final[dict[Cause, _Repeated]] = {}
"""Of this process, as loggers are."""


def complain(error: AweighError, request: Request) -> None:
    """Log it now or with the others of this second. Where no event loop runs nothing can come later, and it is logged now."""
    cause = error.code, request.head.path
    if cause not in _repeated and len(_repeated) >= _MOST_CAUSES:
        cause = error.code, "and others"
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        _log(error.message, request.id.decode(), cause)
        return
    waiting = _repeated.get(cause)
    if waiting is not None and waiting.loop is loop:
        waiting.times += 1
        waiting.message, waiting.request_id = error.message, request.id.decode()
        return
    _log(error.message, request.id.decode(), cause)
    _wait(loop, cause)


def _wait(loop: asyncio.AbstractEventLoop, cause: Cause) -> None:
    _repeated[cause] = waiting = _Repeated(loop)
    loop.call_later(_EVERY_S, _tell, cause, waiting)


def _tell(cause: Cause, waiting: _Repeated) -> None:
    if _repeated.get(cause) is waiting:
        del _repeated[cause]
    if waiting.times:
        _log(waiting.message, waiting.request_id, cause, times=waiting.times)
        _wait(waiting.loop, cause)


def _log(message: str, request_id: str, cause: Cause, **more: int) -> None:
    code, path = cause
    _LOG.warning(message, extra={"request_id": request_id, "path": path, "code": code, **more})
