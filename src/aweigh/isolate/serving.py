"""The child's side of a `Worker`: opens the target once, then answers requests until the parent closes the channel."""

import contextlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from aweigh.core.tensors import Tensors
from aweigh.isolate.channel import REQUEST, Channel, Done, encode
from aweigh.isolate.child import failure, parameter_type, resolve
from aweigh.isolate.tensorbuffers import Described, describe, restore

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], Tensors]]
SERVE: Final = "aweigh.isolate.serving:serve"


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What to open: `module:function`, which takes `argument` and returns a `Handler`."""

    target: str
    argument: Any


class Header(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Of a request and of an answer: what was said, and the tensors that follow."""

    said: dict[str, Any]
    tensors: tuple[Described, ...] = ()


_HEADER: Final = msgspec.msgpack.Decoder(Header)


def serve(opening: Opening, channel: Channel) -> None:
    """Open the target, say so, answer until the channel closes. A target that cannot be opened ends the child with its error."""
    function = resolve(opening.target)
    handler: Handler = function(msgspec.convert(opening.argument, parameter_type(function)))
    channel.send(Done(result=encode(None)))
    with contextlib.suppress(ConnectionError):
        while True:
            _answer_one(handler, channel, opening.target)


serve.serves_channel = True  # type: ignore[attr-defined]  # the mark that child.answer looks for


def _answer_one(handler: Handler, channel: Channel, target: str) -> None:
    request = REQUEST.decode(channel.receive())
    buffers = channel.receive_buffers(request.buffers)
    try:
        header = _HEADER.decode(request.header)
        said, tensors = handler(header.said, restore(header.tensors, buffers))
        descriptions, raw = describe(tensors)
        answer = Done(result=encode(Header(said=said, tensors=descriptions)), buffers=tuple(len(part) for part in raw))
    except BaseException as error:  # noqa: BLE001  # boundary: the worker loop; one bad request (sys.exit too) must not end the session
        channel.send(failure(error, target))
        return
    channel.send(answer, raw)
