"""How a request that did not go well is answered, and one whose outputs come later from a thread. Used by the dispatcher and the dialects.

Whatever a session or an encoder raises ends here as an answer: a callback that raises would leave its client waiting.
"""

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Final

from aweigh.core.errors import AweighError, Kind
from aweigh.core.tensors import Tensor
from aweigh.engine.executors import failed_unexpectedly
from aweigh.engine.model import LoadedModel
from aweigh.serve.message import AnyResponse, Request

_LOG = logging.getLogger("aweigh.request")
Encode = Callable[[list[Tensor]], AnyResponse]
_EXPECTED: Final = frozenset(
    {Kind.INVALID, Kind.NOT_FOUND, Kind.UNAUTHENTICATED, Kind.DENIED, Kind.TOO_LARGE, Kind.CANCELLED, Kind.UNSUPPORTED}
)


def failure_of(error: AweighError, request: Request) -> AnyResponse:
    """An error as the route's dialect says it, logged when it is not the caller's own."""
    if error.kind not in _EXPECTED:
        _LOG.warning(error.message, extra={"request_id": request.id.decode(), "path": request.head.path, "code": error.code})
    _forget_frames(error)
    return request.head.route.failure(error, request)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that raised it: they hold the request's body, and often the error itself, which would keep both until the collector runs."""
    while error is not None:
        error.__traceback__, error = None, error.__context__


def unexpected_failure_of(request: Request) -> AnyResponse:
    """The answer to a request whose handling just raised what nobody expected; call it where that is being handled."""
    _LOG.exception("request failed", extra={"request_id": request.id.decode(), "path": request.head.path})
    return request.head.route.failure(failed_unexpectedly(request.id), request)


def timed(encode: Encode, model: LoadedModel, rows: int, decoding_s: float) -> Encode:
    """The encoding of an answer that comes later, with the time that decoding took and encoding takes counted once it is there."""
    statistics = model.statistics

    def encode_and_count(outputs: list[Tensor]) -> AnyResponse:
        began = perf_counter()
        response = encode(outputs)
        statistics.decoding_s += decoding_s
        if rows > model.inline_rows or not model.turn_rows:  # those that run together are timed together
            statistics.encoding_s += perf_counter() - began
        return response

    return encode_and_count


def answer_later(request: Request, encode: Encode, outputs: list[Tensor] | None, error: AweighError | None) -> None:
    """Reply to a submitted request with its encoded outputs, or with what went wrong."""
    try:
        response = failure_of(error, request) if error is not None else encode(outputs or [])
    except AweighError as failed:
        response = failure_of(failed, request)
    except Exception:  # noqa: BLE001  # the request boundary, as in the dispatcher
        response = unexpected_failure_of(request)
    request.reply(request, response)
