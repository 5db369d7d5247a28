"""AWS Lambda: the loop over its Runtime API, and the events that it brings. A body as POST /predict takes it, or a request that API Gateway or a function's URL took.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import _socket

from . import jsontext
from .errors import Refusal, broken
from .message import Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .forms import Forms

_PATH = "/2018-06-01/runtime"
_REQUEST_ID = "lambda-runtime-aws-request-id"
_MAX_ANSWER = 64 * 1024 * 1024
_PIECE = 64 * 1024


def handle(forms: Forms, event: Any) -> Any:
    """The answer to one event. Raises Refusal for a direct one that is wrong; a request gets its error as a response, or the gateway makes it a 502."""
    if not isinstance(event, dict) or "requestContext" not in event:
        return forms.predict(event)
    try:
        request = _request(event)
    except Refusal as error:
        request = Request("POST", "/", {})
        return _response(forms.failure(error, request), request.id)
    if request.method == "POST" and ("POST", request.path) not in forms.routes and not request.path.startswith(("/predict/", "/v2")):
        request.path = "/"  # behind a stage or a route of the gateway's own: there is one model
    return _response(forms.answer(request), request.id)


def _request(event: dict[str, Any]) -> Request:
    """Of payload format 2.0 (HTTP APIs, function URLs) or 1.0 (REST APIs)."""
    context = _object(event, "requestContext")
    http = _object(context, "http")
    method, path = http.get("method") or event.get("httpMethod") or "POST", event.get("rawPath") or event.get("path") or "/"
    headers = {str(name).lower(): str(value) for name, value in _object(event, "headers").items()}
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        from binascii import a2b_base64  # few events are coded

        try:
            data = a2b_base64(str(body))
        except ValueError as error:
            raise Refusal(f"the event's body is not base64: {error}", hint="isBase64Encoded says that it is") from None
    else:
        data = str(body).encode("utf-8", "surrogatepass")
    headers.setdefault("x-request-id", str(context.get("requestId", "")))
    return Request(str(method), str(path), headers, data)


def _object(of: dict[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _response(response: Response, identity: str) -> dict[str, Any]:
    headers = {"content-type": response.kind, "x-request-id": identity, **dict(response.headers)}
    if response.kind == "application/octet-stream":
        from binascii import b2a_base64

        body, coded = b2a_base64(response.body, newline=False).decode(), True
    else:
        body, coded = response.body.decode(), False
    return {"statusCode": response.status, "headers": headers, "body": body, "isBase64Encoded": coded}


def loop(forms: Forms, address: str) -> None:
    """Answer events until the platform ends the process. Raises OSError where its API cannot be reached."""
    api = _Api(address)
    while True:
        headers, body = api.ask("GET", "/invocation/next")
        identity = headers.get(_REQUEST_ID, "")
        try:
            answer = jsontext.write(handle(forms, jsontext.read(body)))
        except Refusal as error:
            api.ask("POST", f"/invocation/{identity}/error", _failure(error), (("lambda-runtime-function-error-type", error.code),))
        except Exception as error:  # noqa: BLE001  # the boundary: one event that fails is no end of the loop
            said = broken(f"the function failed: {error.__class__.__name__}: {error}")
            api.ask("POST", f"/invocation/{identity}/error", _failure(said))
        else:
            api.ask("POST", f"/invocation/{identity}/response", answer)


def tell_failed_start(address: str, error: Refusal) -> None:
    """Say why the function cannot start."""
    _Api(address).ask("POST", "/init/error", _failure(error), (("lambda-runtime-function-error-type", error.code),))


def _failure(error: Refusal) -> bytes:
    return jsontext.write({"errorType": error.code, "errorMessage": str(error), "stackTrace": []})


class _Api:
    """A connection to the Runtime API, made again where it was closed."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port or 80)
        self._address = address
        self._socket: _socket.socket | None = None

    def ask(self, method: str, path: str, body: bytes = b"", more: tuple[tuple[str, str], ...] = ()) -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer. Waits as long as it takes: the platform freezes the process in between."""
        extra = "".join([f"{name}: {value}\r\n" for name, value in more])
        head = f"{method} {_PATH}{path} HTTP/1.1\r\nhost: {self._address}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        data = head.encode("latin-1", "replace") + body
        if self._socket is not None:
            try:
                self._socket.sendall(data)
                return self._read(self._socket)
            except OSError:  # it was closed while it waited
                self._socket.close()
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._socket.connect((self._host, self._port))
        self._socket.sendall(data)
        return self._read(self._socket)

    def _read(self, socket: _socket.socket) -> tuple[dict[str, str], bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += _more(socket, data)
        head, _, body = data.partition(b"\r\n\r\n")
        headers = {}
        for line in head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return headers, _chunks(socket, body)
        length = int(headers.get("content-length", "0"))
        while len(body) < length:
            body += _more(socket, body)
        return headers, body


def _more(socket: _socket.socket, data: bytes) -> bytes:
    piece = socket.recv(_PIECE)
    if not piece:
        raise ConnectionResetError("the Runtime API closed the connection")
    if len(data) > _MAX_ANSWER:
        raise broken("the Runtime API sent more than any event holds")
    return piece


def _chunks(socket: _socket.socket, data: bytes) -> bytes:
    body = b""
    while True:
        while b"\r\n" not in data:
            data += _more(socket, data)
        line, _, data = data.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        while len(data) < size + 2:
            data += _more(socket, data)
        if not size:
            return body
        body, data = body + data[:size], data[size + 2 :]
