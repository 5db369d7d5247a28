"""The child's side of a `Lane`: opens the target once, then answers requests that lie in shared memory until the parent closes the bell."""

import contextlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from aweigh.core.errors import TooLarge
from aweigh.core.tensors import Tensors
from aweigh.isolate.channel import Buffer, Channel, Done, Failed, OutOfMemory, encode
from aweigh.isolate.child import failure, parameter_type, resolve
from aweigh.isolate.doorbell import Doorbell, Ring
from aweigh.isolate.segment import Segment
from aweigh.isolate.tensorbuffers import Layout, Packer, Unpacker, write

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], Tensors]]
SERVE: Final = "aweigh.isolate.serving:serve"


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What to open: `module:function`, which takes `argument` and returns a `Handler`."""

    target: str
    argument: Any
    keeps_inputs: bool = True
    """Whether the handler may hold on to the arrays it is given: then it gets copies, else the shared memory itself."""


def serve(opening: Opening, channel: Channel) -> None:
    """Open the target, say so, answer until the parent leaves. A target that cannot be opened ends the child with its error."""
    function = resolve(opening.target)
    handler: Handler = function(msgspec.convert(opening.argument, parameter_type(function)))
    channel.send(Done(result=encode(None)))
    with contextlib.suppress(ConnectionError):
        answering = _Answering(channel, handler, opening)
        while True:
            answering.one()


serve.serves_channel = True  # type: ignore[attr-defined]  # the mark that child.answer looks for


class _Answering:
    def __init__(self, channel: Channel, handler: Handler, opening: Opening) -> None:
        self._channel = channel
        self._handler = handler
        self._target = opening.target
        self._copy = opening.keeps_inputs
        self._packer, self._unpacker = Packer(), Unpacker()
        reads, writes, request, answer = channel.receive_files(4)
        self._bell = Doorbell(reads, writes)
        self._request, self._answer = Segment.attach(request), Segment.attach(answer)

    def one(self) -> None:
        """Wait for one ring of the parent's and do what it means."""
        kind, header_bytes, _ = self._bell.take()
        if kind == Ring.REQUEST_ROOM:
            self._request = Segment.attach(self._channel.receive_files(1)[0])
            return
        try:
            said, tensors = self._handler(*self._unpacker.unpack(self._request.view, header_bytes, copy=self._copy))
            layout, buffers = self._packer.pack(said, tensors)
        except BaseException as error:  # noqa: BLE001  # boundary: the worker loop; one bad request (sys.exit too) must not end the session
            self._fail(failure(error, self._target))
            return
        self._send(Ring.ANSWER, layout, buffers)

    def _fail(self, message: Failed | OutOfMemory) -> None:
        if isinstance(message, OutOfMemory):
            self._bell.ring(Ring.OUT_OF_MEMORY)
        else:
            header = msgspec.msgpack.encode(message)
            self._send(Ring.FAILED, Layout(header, (), len(header)), [])

    def _send(self, kind: Ring, layout: Layout, buffers: list[Buffer]) -> None:
        size = layout.size
        if size > self._answer.size and not self._more_room(size):
            error = TooLarge(f"an answer of {size} bytes is more than may cross between processes", hint="send fewer rows")
            self._fail(failure(error, self._target))
            return
        write(self._answer.view, layout, buffers)
        self._bell.ring(kind, len(layout.header), size)

    def _more_room(self, size: int) -> bool:
        self._bell.ring(Ring.NEEDS_ROOM, size=size)
        _, _, room = self._bell.take()
        if not room:
            return False
        self._answer = Segment.attach(self._channel.receive_files(1)[0])
        return True
