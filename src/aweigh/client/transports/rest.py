"""Open Inference V2 and `POST /predict/NAME` over HTTP/1.1, by urllib3. Loaded by `Client` through the plug-in table."""

import email.utils
import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError, SSLError

from aweigh.client import jsontext
from aweigh.client.arrays import WireArray, answered, wire_arrays
from aweigh.client.retrying import RETRY_AFTER
from aweigh.client.values import Endpoint, InferRequest, InferResult, ModelMetadata, Row, ServerMetadata
from aweigh.core import errors
from aweigh.core.errors import AweighError
from aweigh.core.tensors import Datatype

CONNECTIONS: Final = 128
"""Idle connections kept; more are opened when needed and closed after use."""
MAX_RESPONSE_BYTES: Final = 1024 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_BY_STATUS: Final[dict[int, type[AweighError]]] = {
    400: errors.InvalidInput,
    401: errors.Unauthenticated,
    403: errors.Denied,
    404: errors.NotFound,
    405: errors.Unsupported,
    408: errors.DeadlineExceeded,
    409: errors.Conflict,
    413: errors.TooLarge,
    415: errors.Unsupported,
    422: errors.InvalidInput,
    429: errors.Overloaded,
    499: errors.Cancelled,
    501: errors.Unsupported,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.DeadlineExceeded,
}
_BY_CODE: Final = {cls.code: cls for cls in errors.all_errors()}
_Form = TypeVar("_Form")


class _Output(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[object]


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    outputs: tuple[_Output, ...]
    model_name: str = ""
    model_version: str | None = None
    id: str | None = None


class _Predictions(msgspec.Struct, frozen=True, kw_only=True):
    predictions: list[dict[str, object]]


class RestTransport:
    """One pool of connections to one server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if endpoint.api_key:
            self._headers["authorization"] = f"Bearer {endpoint.api_key}"
        self._pool: urllib3.HTTPConnectionPool
        if endpoint.tls:
            self._pool = urllib3.HTTPSConnectionPool(
                endpoint.host, endpoint.port, maxsize=CONNECTIONS, ca_certs=endpoint.ca_file or None, cert_reqs="CERT_REQUIRED"
            )
        else:
            self._pool = urllib3.HTTPConnectionPool(endpoint.host, endpoint.port, maxsize=CONNECTIONS)

    def healthy(self, model: str, version: str, *, live: bool, timeout_s: float) -> bool:
        route = f"{_model_route(model, version)}/ready" if model else f"/v2/health/{'live' if live else 'ready'}"
        status, _, body = self._exchange("GET", route, timeout_s=timeout_s)
        if status in {400, 404, 503}:
            return False
        if status != 200:
            raise _refusal(status, {}, body, model=model)
        return True

    def server(self, timeout_s: float) -> ServerMetadata:
        return _convert(self._ask("GET", "/v2", timeout_s=timeout_s), ServerMetadata)

    def metadata(self, model: str, version: str, timeout_s: float) -> ModelMetadata:
        return _convert(self._ask("GET", _model_route(model, version), model=model, timeout_s=timeout_s), ModelMetadata)

    def infer(self, request: InferRequest, timeout_s: float) -> InferResult:
        route = f"{_model_route(request.model, request.version)}/infer"
        body = self._ask("POST", route, body=_encode_infer(request), model=request.model, timeout_s=timeout_s)
        answer = _convert(body, _Answer)
        return InferResult(
            tensors={output.name: answered(output.name, output.datatype, output.shape, output.data) for output in answer.outputs},
            model_name=answer.model_name or request.model,
            model_version=answer.model_version or "",
            id=answer.id or "",
        )

    def predict(self, model: str, version: str, rows: Sequence[Row], *, request_id: str, timeout_s: float) -> list[dict[str, object]]:
        headers = {"x-request-id": request_id} if request_id else {}
        route = _model_route(model, version, base="/predict")
        body = self._ask("POST", route, body=jsontext.encode_rows(rows), model=model, headers=headers, timeout_s=timeout_s)
        found = _convert(body, _Predictions).predictions
        if len(found) != len(rows):
            raise errors.InternalError(f"the server gave {len(found)} predictions for {len(rows)} rows")
        return found

    def operate(self, path: str, document: bytes | None, timeout_s: float) -> bytes:
        return self._ask("GET" if document is None else "POST", path, body=document, timeout_s=timeout_s)

    def close(self) -> None:
        self._pool.close()

    def _ask(
        self,
        method: str,
        route: str,
        *,
        timeout_s: float,
        body: bytes | None = None,
        model: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        status, answer_headers, answer = self._exchange(method, route, body=body, headers=headers, timeout_s=timeout_s)
        if status != 200:
            raise _refusal(status, answer_headers, answer, model=model)
        return answer

    def _exchange(
        self, method: str, route: str, *, timeout_s: float, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request and its whole answer within `timeout_s`, or an AweighError."""
        deadline = time.monotonic() + timeout_s
        everything = {**self._headers, "x-request-timeout-ms": str(max(1, int(timeout_s * 1000))), **(headers or {})}
        try:
            response = self._pool.urlopen(
                method,
                self._endpoint.path + route,
                body=body,
                headers=everything,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(total=timeout_s),
                preload_content=False,
            )
            try:
                return response.status, response.headers, _read(response, deadline, timeout_s)
            finally:
                response.release_conn()
        except (HTTPError, OSError) as error:
            raise self._broken(error, timeout_s) from error

    def _broken(self, error: Exception, timeout_s: float) -> AweighError:
        address = self._endpoint.address
        if isinstance(error, SSLError):
            return errors.Refused(f"TLS with {address} failed: {error}", hint="check the certificate, and ca_file for a private authority")
        if isinstance(error, NewConnectionError | ConnectTimeoutError):
            return errors.Unavailable(f"cannot connect to {address}: {error}", hint="is the server running, and is this its port?")
        if isinstance(error, ReadTimeoutError | TimeoutError):
            return _late(timeout_s)
        if isinstance(error, ProtocolError | OSError):
            return errors.Unavailable(f"the connection to {address} broke before the answer was complete: {error}")
        return errors.InternalError(f"the request to {address} failed: {error}")


def _read(response: urllib3.BaseHTTPResponse, deadline: float, timeout_s: float) -> bytes:
    """The body, by what each read of the socket brings: a server that drips cannot stretch the deadline."""
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            response.close()
            raise errors.TooLarge(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes", hint="ask for fewer rows at a time")
        if time.monotonic() > deadline:
            response.close()
            raise _late(timeout_s)
    return b"".join(parts)


def _late(timeout_s: float) -> AweighError:
    return errors.DeadlineExceeded(f"no complete answer within {timeout_s:.3g} s", hint="raise timeout_s, or check the server's load")


def _model_route(model: str, version: str, base: str = "/v2/models") -> str:
    route = f"{base}/{quote(model, safe='')}"
    return f"{route}/versions/{quote(version, safe='')}" if version else route


def _encode_infer(request: InferRequest) -> bytes:
    document: dict[str, object] = {"id": request.id} if request.id else {}
    document["inputs"] = [
        {"name": wire.name, "shape": wire.array.shape, "datatype": wire.datatype.value, "data": _data(wire)}
        for wire in wire_arrays(request.inputs.items())
    ]
    if request.outputs:
        document["outputs"] = [{"name": name} for name in request.outputs]
    return jsontext.encode(document)


def _data(wire: WireArray) -> object:
    if wire.datatype is not Datatype.BYTES:
        return jsontext.numbers(wire.array, wire.datatype)
    items: list[object] = wire.array.ravel().tolist()
    try:
        return [item.decode("utf-8") if isinstance(item, bytes) else item for item in items]
    except UnicodeDecodeError as error:
        raise errors.InvalidInput(
            f"input '{wire.name}': a BYTES element is not UTF-8 ({error}), which JSON cannot carry", hint="use protocol='grpc'"
        ) from error


def _convert(body: bytes, kind: type[_Form]) -> _Form:
    try:
        return msgspec.convert(jsontext.decode(body), kind)
    except msgspec.ValidationError as error:
        raise errors.InternalError(
            f"the server's answer has an unexpected form: {error}", hint="is the URL that of an inference server?"
        ) from error


def _refusal(status: int, headers: Mapping[str, str], body: bytes, *, model: str) -> AweighError:
    """The error that a status stands for, with the server's own words; its `code` is believed where this client knows it."""
    default = errors.Unavailable if status >= 500 and status != 500 else errors.InternalError
    cls = errors.ModelNotFound if status == 404 and model else _BY_STATUS.get(status, default)
    said: dict[str, object] = {}
    try:
        document = jsontext.decode(body)
        said = document if isinstance(document, dict) else {}
    except AweighError:
        pass  # a proxy's page, say: the status speaks for itself
    message = said.get("error") or said.get("detail") or f"the server answered with status {status}"
    known = _BY_CODE.get(str(said.get("code")))
    context: dict[str, object] = {"status": status}
    if said.get("request_id"):
        context["request_id"] = said["request_id"]
    if "retry-after" in headers:
        context[RETRY_AFTER] = retry_after_seconds(headers["retry-after"])
    return (known or cls)(str(message), hint=str(said.get("hint") or ""), **context)


def retry_after_seconds(text: str) -> float:
    """RFC 9110 10.2.3: a number of seconds, or a date. Anything else asks for nothing."""
    try:
        return (
            float(int(text))
            if text.isascii() and text.isdigit()
            else max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
        )
    except (ValueError, OverflowError):
        return 0.0
