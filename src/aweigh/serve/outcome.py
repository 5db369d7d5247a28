"""How a request that did not go well is answered, and one whose outputs come later from a thread. Used by the dispatcher and the dialects.

Whatever a session or an encoder raises ends here as an answer: a callback that raises would leave its client waiting.
"""

import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Final

from aweigh.core.errors import AweighError, Kind, NotLoaded
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.dataplane import DataPlane
from aweigh.engine.executors import failed_unexpectedly
from aweigh.engine.model import LoadedModel
from aweigh.serve.complaints import complain
from aweigh.serve.message import AnyResponse, Request

_LOG = logging.getLogger("aweigh.request")
Encode = Callable[[list[Tensor]], AnyResponse]
_EXPECTED: Final = frozenset(
    {Kind.INVALID, Kind.NOT_FOUND, Kind.UNAUTHENTICATED, Kind.DENIED, Kind.TOO_LARGE, Kind.CANCELLED, Kind.UNSUPPORTED}
)
_FLOODS: Final = frozenset({Kind.OVERLOADED, Kind.TIMEOUT, Kind.UNAVAILABLE})
"""What many requests are told at once when something is wrong."""


def answer_of(error: AweighError, request: Request) -> AnyResponse | None:
    """The answer to a request that its model failed: that of the model which stands in for it, where there is one. None when it comes later.

    A request whose model is not loaded waits until it is, and is handled anew.
    """
    while True:
        if isinstance(error, NotLoaded) and error.wake is not None:
            try:
                error.wake(request, partial(_handle_again, request))
                return None
            except AweighError as refused:
                return failure_of(refused, request)
        if request.chosen is None or not request.chosen.stand_in(error, request):
            return failure_of(error, request)
        try:
            return _handled(request)
        except AweighError as failed:
            error = failed
        except Exception:  # noqa: BLE001  # the request boundary, as in the dispatcher
            error = unexpected(request)


def _handled(request: Request) -> AnyResponse | None:
    route = request.head.route
    return (route.again or route.handler)(request)


def _handle_again(request: Request, error: AweighError | None) -> None:
    """The wait of a request is over: the model is there, or will not be."""
    answer_with(request, lambda: _handled(request) if error is None else failure_of(error, request))


def answer_with(request: Request, answer: Callable[[], AnyResponse | None]) -> None:
    """Reply with what `answer` gives, or with what becomes of a request that it raises for; None comes later."""
    response: AnyResponse | None
    try:
        response = answer()
    except AweighError as error:
        response = answer_of(error, request)
    except Exception:  # noqa: BLE001  # the request boundary, as in the dispatcher
        response = answer_of(unexpected(request), request)
    if response is not None:
        request.reply(request, response)


def failure_of(error: AweighError, request: Request) -> AnyResponse:
    """An error as the route's dialect says it, logged when it is not the caller's own."""
    if error.kind in _FLOODS:
        complain(error, request)
    elif error.kind not in _EXPECTED:
        _LOG.warning(error.message, extra={"request_id": request.id.decode(), "path": request.head.path, "code": error.code})
    _forget_frames(error)
    return request.head.route.failure(error, request)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that raised it: they hold the request's body, and often the error itself, which would keep both until the collector runs."""
    while error is not None:
        error.__traceback__, error = None, error.__context__


def unexpected(request: Request) -> AweighError:
    """What to tell of a request whose handling just raised what nobody expected; call it where that is being handled."""
    _LOG.exception("request failed", extra={"request_id": request.id.decode(), "path": request.head.path})
    return failed_unexpectedly(request.id)


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


def outcome(dataplane: DataPlane, model: LoadedModel, inputs: Tensors, rows: int, request: Request, encode: Encode) -> AnyResponse | None:
    """The answer to accepted inputs: at once where the model is quick enough to be run on the loop, else None, and it comes later. Raises as `DataPlane.run`."""
    if rows <= model.immediate_rows:
        return encode(dataplane.run(model, inputs, rows))
    dataplane.submit(model, inputs, rows, request, partial(answer_later, request, encode))
    return None


def answer_later(request: Request, encode: Encode, outputs: list[Tensor] | None, error: AweighError | None) -> None:
    """Reply to a submitted request with its encoded outputs, or with what becomes of one that failed."""
    answer_with(request, lambda: answer_of(error, request) if error is not None else encode(outputs or []))
