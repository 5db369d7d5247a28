"""Content codings: gzip and deflate of requests and answers, REST bodies and gRPC messages alike. Called by the dispatcher, once per head.

A head that names a coding gets a route whose handler is wrapped; every other request passes by without a look. What inflates is measured
while it does: nothing may grow past the limit for bodies, however small it came. Large ones are coded on threads.
"""

import asyncio
import dataclasses
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Final

from aweigh.core.errors import InvalidInput, TooLarge, Unsupported
from aweigh.serve.message import AnyResponse, GrpcResponse, Handler, Reply, Request, Response
from aweigh.serve.outcome import answer_with
from aweigh.serve.patience import expect
from aweigh.serve.router import Route

GZIP: Final = b"gzip"
DEFLATE: Final = b"deflate"
_NONE: Final = frozenset({b"", b"identity"})
_WINDOW_BITS: Final = {GZIP: 31, DEFLATE: 15}
_RAW_DEFLATE: Final = -15
_PIECE: Final = 1 << 20
_FAST: Final = 1
"""Tensors hardly shrink, so what little there is to gain is taken quickly."""
_WORTHWHILE: Final = 1024
"""Answers below this many bytes are sent as they are."""
HERE: Final = 128 * 1024
"""Up to this many bytes, coded or not, are handled on the event loop, more on a thread."""
_MAX_MEMBERS: Final = 1024


def inflate(data: bytes | memoryview, coding: bytes, max_bytes: int) -> bytes:
    """The body that was coded. Raises TooLarge as soon as it grows past `max_bytes`, InvalidInput for what is broken, cut off or followed by more."""
    pieces: list[bytes] = []
    size = members = 0
    while True:
        members += 1
        stream = zlib.decompressobj(_window_bits(data, coding))
        try:
            while not stream.eof:
                piece = stream.decompress(data, min(_PIECE, max_bytes + 1 - size))
                if not piece and not stream.unconsumed_tail and not stream.eof:
                    raise InvalidInput(f"the {coding.decode()} body is cut off", hint="send all of it")
                pieces.append(piece)
                size += len(piece)
                if size > max_bytes:
                    raise TooLarge(f"a body of more than {max_bytes} bytes once inflated", hint="max_body_bytes sets the limit")
                data = stream.unconsumed_tail
        except zlib.error as error:
            raise InvalidInput(f"the body is not {coding.decode()}: {error}", hint="check Content-Encoding") from None
        data = stream.unused_data
        if not data:
            return b"".join(pieces)
        if coding != GZIP or members >= _MAX_MEMBERS:
            raise InvalidInput(f"{len(data)} bytes follow the {coding.decode()} body", hint="send one coded body alone")


def _window_bits(data: bytes | memoryview, coding: bytes) -> int:
    """What zlib calls the format. "deflate" means zlib's (RFC 9110 section 8.4.1.2), but some clients send it without its two bytes of header."""
    if coding == DEFLATE and len(data) >= 2 and (data[0] & 15 != 8 or (data[0] << 8 | data[1]) % 31):
        return _RAW_DEFLATE
    return _WINDOW_BITS[coding]


def deflate(data: bytes, coding: bytes) -> bytes:
    """A body, coded."""
    stream = zlib.compressobj(_FAST, zlib.DEFLATED, _WINDOW_BITS[coding])
    return stream.compress(data) + stream.flush()


def accepted_coding(value: bytes) -> bytes:
    """The coding to answer in, of those in an Accept-Encoding header (RFC 9110 section 12.5.3); empty for none. gzip where both are as welcome."""
    weights: dict[bytes, float] = {}
    for item in value.lower().split(b","):
        name, _, parameters = item.partition(b";")
        weights[name.strip()] = _weight(parameters.strip())
    best = max((GZIP, DEFLATE), key=lambda coding: weights.get(coding, weights.get(b"*", 0.0)))
    welcome = weights.get(best, weights.get(b"*", 0.0))
    return best if welcome > 0 and welcome >= weights.get(b"identity", 0.0) else b""


def _weight(parameters: bytes) -> float:
    """`q=0.5`; what cannot be read counts as not welcome."""
    if not parameters:
        return 1.0
    name, _, value = parameters.partition(b"=")
    try:
        return float(value) if name.strip() == b"q" else 0.0
    except ValueError:
        return 0.0


def coded_route(route: Route, headers: Mapping[bytes, bytes], max_bytes: int) -> Route:
    """The route as a request with these headers needs it. Raises InvalidInput, or Unsupported over gRPC, for a coding that is not known."""
    if route.grpc:
        asked = headers.get(b"grpc-encoding", b"").strip().lower()
        if asked in _NONE:
            return route
        if asked not in _WINDOW_BITS:
            raise Unsupported(
                f"grpc-encoding {asked.decode('latin-1')[:40]!r} is not taken", hint="this server takes identity, gzip and deflate"
            )
        if route.converse is not None:
            return route  # each message is inflated as it comes
        return dataclasses.replace(route, handler=_CodedMessages(route.handler, asked, max_bytes), again=route.handler, views=None)
    asked = headers.get(b"content-encoding", b"").strip().lower()
    if asked not in _NONE and asked not in _WINDOW_BITS:
        raise InvalidInput(f"Unsupported compression type: {asked.decode('latin-1')[:40]!r}", hint="this server takes gzip and deflate")
    answered = accepted_coding(headers[b"accept-encoding"]) if b"accept-encoding" in headers else b""
    if asked in _NONE and not answered:
        return route
    coded = _CodedBodies(route.handler, b"" if asked in _NONE else asked, answered, max_bytes)
    return dataclasses.replace(route, handler=coded, again=route.handler, views=route.views if asked in _NONE else None)


class _Coded:
    """A handler behind a coding of its requests (`asked`), its answers (`answered`), or both."""

    def __init__(self, handler: Handler, asked: bytes, answered: bytes, max_bytes: int) -> None:
        self._handler = handler
        self._asked = asked
        self._answered = answered
        self._max_bytes = max_bytes

    def __call__(self, request: Request) -> AnyResponse | None:
        if self._answered:
            request.reply = partial(self._reply, request.reply)
        if self._asked and not self._inflated_here(request):
            inflated = asyncio.get_running_loop().run_in_executor(None, self.inflated, request, self._max_bytes)
            inflated.add_done_callback(partial(self._continue, request))
            return None
        return self._code(request, self._handler(request))

    def _inflated_here(self, request: Request) -> bool:
        """Whether the body was so small, coded and inflated, that this is done. What is small may become a thousand times as large."""
        if len(request.body) > HERE:
            return False
        try:
            request.body = self.inflated(request, min(HERE, self._max_bytes))
        except TooLarge:
            if self._max_bytes <= HERE:
                raise
            return False
        return True

    def inflated(self, request: Request, max_bytes: int) -> bytes:
        """The body as the handler wants it."""
        raise NotImplementedError

    def deflated(self, response: AnyResponse) -> AnyResponse:
        """A large answer, coded if that makes it smaller."""
        raise NotImplementedError

    def size(self, response: AnyResponse) -> int:
        """Bytes of an answer that can be coded; 0 of one that cannot, or was."""
        raise NotImplementedError

    def _continue(self, request: Request, inflated: "asyncio.Future[bytes]") -> None:
        if request.cancelled or inflated.cancelled():
            return

        def answer() -> AnyResponse | None:
            request.body = inflated.result()
            expect(len(request.body))
            return self._handler(request)

        answer_with(request, answer)

    def _code(self, request: Request, response: AnyResponse | None) -> AnyResponse | None:
        if response is None or not self._answered or self.size(response) < _WORTHWHILE:
            return response
        if self.size(response) <= HERE:
            return self.deflated(response)
        deflated = asyncio.get_running_loop().run_in_executor(None, self.deflated, response)
        deflated.add_done_callback(partial(_send, request))
        return None

    def _reply(self, reply: Reply, request: Request, response: AnyResponse) -> None:
        coded = self._code(request, response)
        if coded is not None:
            reply(request, coded)


class _CodedBodies(_Coded):
    """Of REST: Content-Encoding and Accept-Encoding."""

    def inflated(self, request: Request, max_bytes: int) -> bytes:
        return inflate(request.body, self._asked, max_bytes)

    def size(self, response: AnyResponse) -> int:
        return len(response.body) if isinstance(response, Response) and not _is_coded(response) else 0

    def deflated(self, response: AnyResponse) -> AnyResponse:
        if not isinstance(response, Response):
            return response
        body = deflate(response.body, self._answered)
        coding = self._answered if len(body) < len(response.body) else b"identity"
        headers = (*response.headers, (b"content-encoding", coding), (b"vary", b"accept-encoding"))
        return Response(response.status, body if coding == self._answered else response.body, response.content_type, headers)


class _CodedMessages(_Coded):
    """Of unary gRPC (gRPC over HTTP/2, "Compression"): whoever sends coded messages gets coded answers."""

    def __init__(self, handler: Handler, coding: bytes, max_bytes: int) -> None:
        super().__init__(handler, coding, coding, max_bytes)

    def inflated(self, request: Request, max_bytes: int) -> bytes:
        body = request.body
        if len(body) < 5 or body[0] != 1 or int.from_bytes(body[1:5], "big") != len(body) - 5:
            return body  # not coded after all, or not one message: the handler says so
        message = inflate(memoryview(body)[5:], self._asked, max_bytes)
        return b"".join((b"\0", len(message).to_bytes(4, "big"), message))

    def size(self, response: AnyResponse) -> int:
        return len(response.message) if isinstance(response, GrpcResponse) and not response.coding else 0

    def deflated(self, response: AnyResponse) -> AnyResponse:
        if isinstance(response, GrpcResponse):
            response.message, response.coding = deflate(response.message, self._answered), self._answered
        return response


def _is_coded(response: Response) -> bool:
    return any(name == b"content-encoding" for name, _ in response.headers)


def _send(request: Request, deflated: "asyncio.Future[AnyResponse]") -> None:
    """Through the request's whole chain of replies: what is coded passes the others as it is."""
    if not request.cancelled and not deflated.cancelled():
        request.reply(request, deflated.result())
