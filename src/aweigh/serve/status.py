"""Tables from error kind to HTTP status and gRPC code, and the plain JSON form of an error. A test walks every kind through both."""

from typing import Final
from urllib.parse import quote

import orjson

from aweigh.core.errors import AweighError, Kind
from aweigh.serve.message import GrpcResponse, Response

HTTP_STATUS: Final[dict[Kind, int]] = {
    Kind.INVALID: 400,
    Kind.TOO_LARGE: 413,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.UNSUPPORTED: 501,
    Kind.REFUSED: 422,
    Kind.UNAVAILABLE: 503,
    Kind.OVERLOADED: 429,
    Kind.TIMEOUT: 504,
    Kind.CANCELLED: 499,
    Kind.INTERNAL: 500,
}
GRPC_CODE: Final[dict[Kind, int]] = {
    Kind.INVALID: 3,
    Kind.TOO_LARGE: 8,
    Kind.UNAUTHENTICATED: 16,
    Kind.DENIED: 7,
    Kind.NOT_FOUND: 5,
    Kind.CONFLICT: 6,
    Kind.UNSUPPORTED: 12,
    Kind.REFUSED: 9,
    Kind.UNAVAILABLE: 14,
    Kind.OVERLOADED: 8,
    Kind.TIMEOUT: 4,
    Kind.CANCELLED: 1,
    Kind.INTERNAL: 13,
}
"""https://grpc.github.io/grpc/core/md_doc_statuscodes.html"""
GRPC_UNIMPLEMENTED: Final = 12

RETRY: Final[tuple[tuple[bytes, bytes], ...]] = ((b"retry-after", b"1"),)
CHALLENGE: Final[tuple[tuple[bytes, bytes], ...]] = ((b"www-authenticate", b'Bearer realm="aweigh"'),)
_EXTRA_HEADERS: Final[dict[Kind, tuple[tuple[bytes, bytes], ...]]] = {
    Kind.UNAVAILABLE: RETRY,
    Kind.OVERLOADED: RETRY,
    Kind.UNAUTHENTICATED: CHALLENGE,
}
_EXTRA_TRAILERS: Final = {Kind.UNAVAILABLE: RETRY, Kind.OVERLOADED: RETRY}
_PRINTABLE: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What a header value may hold as it is; all else, and %, is percent-encoded as in gRPC's own message."""


def one_line(error: AweighError) -> str:
    """Message and hint in one sentence, for forms that have room for one text."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def json_error(error: AweighError, **more: str) -> Response:
    """`{"error": message, …}` with the kind's status and headers. Where the form has no field for the hint, it stands behind the message."""
    text = error.message if "hint" in more else one_line(error)
    body = {name: _valid(value) for name, value in {"error": text, **more}.items()}
    return Response(HTTP_STATUS[error.kind], orjson.dumps(body), headers=_EXTRA_HEADERS.get(error.kind, ()))


def _valid(text: str) -> str:
    """A message may quote a lone surrogate from a request; JSON has no form for it."""
    return text.encode("utf-8", "backslashreplace").decode()


def hinted_error(error: AweighError) -> Response:
    """`{"error": message, "hint": next step}`: the message stands alone, as programs that compare texts want it."""
    return json_error(error, hint=error.hint) if error.hint else json_error(error)


def grpc_error(error: AweighError) -> GrpcResponse:
    """The kind's gRPC code and the message. The trailers `aweigh-code` and `aweigh-hint` say what gRPC has no place for."""
    trailers = [(b"aweigh-code", error.code.encode())]
    if error.hint:
        trailers.append((b"aweigh-hint", quote(_valid(error.hint), safe=_PRINTABLE).encode()))
    return GrpcResponse(b"", GRPC_CODE[error.kind], error.message, (*trailers, *_EXTRA_TRAILERS.get(error.kind, ())))
