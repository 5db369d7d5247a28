"""`Client`: asks an Open Inference server, with retries under one deadline. For people and programs; speaks no protocol itself."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, cast, overload
from urllib.parse import quote, urlsplit

import msgspec

from aweigh.client.frames import Frame, like, rows_of
from aweigh.client.retrying import RetryPolicy
from aweigh.client.values import Endpoint, InferRequest, InferResult, ModelMetadata, Row, ServerMetadata, Transport
from aweigh.core import plugins
from aweigh.core.errors import (
    DeadlineExceeded,
    FileMissing,
    InternalError,
    InvalidInput,
    InvalidSetting,
    ModelNotFound,
    NotFound,
    NotReady,
    Unavailable,
)
from aweigh.core.rollout import Plan, Report, check_plan
from aweigh.core.tensors import Tensor

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEFAULT_PORTS: Final = {False: 80, True: 443}
LOAD_TIMEOUT_S: Final = 600.0
_POLL_S: Final = 0.05
_SCHEMES: Final = {"http": ("rest", False), "https": ("rest", True), "grpc": ("grpc", False), "grpcs": ("grpc", True)}
_FrameT = TypeVar("_FrameT", bound=Frame)
_Answer = TypeVar("_Answer")


class Client:
    """A client of one server, over REST (`http://`, `https://`) or gRPC (`grpc://`, `grpcs://`); safe to share between threads.

    `timeout_s` bounds a call with all its retries. Calls are repeated, `retries` times at most, only where the server refused the work
    or the connection broke. Errors are those of `aweigh.core.errors`, with the server's words. Needs the extra `client`.

        with Client("grpc://127.0.0.1:8080") as client:
            answer = client.infer("iris", {"X": np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)})
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        protocol: Literal["rest", "grpc"] | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 2,
        ca_file: str = "",
    ) -> None:
        """`protocol` overrides what the URL's scheme says. Raises InvalidSetting, MissingLibrary."""
        if not timeout_s > 0:
            raise InvalidSetting(f"timeout_s is {timeout_s}: expected more than 0 seconds")
        if retries < 0:
            raise InvalidSetting(f"retries is {retries}: expected 0 or more")
        name, endpoint = _endpoint(url, protocol, api_key or "", ca_file)
        make = cast("Callable[[Endpoint], Transport]", plugins.load("client-transport", name))
        self._transport = make(endpoint)
        self._timeout_s = timeout_s
        self._retry = RetryPolicy(retries=retries)

    def live(self) -> bool:
        """Whether the server is up at all; False when it cannot be reached, or does not answer in time."""
        return self._healthy("", "", live=True, timeout_s=self._timeout_s)

    def ready(self, name: str | None = None, version: str | int | None = None) -> bool:
        """Whether the server, or one model, will answer; False when it is unknown, cannot be reached, or does not answer in time."""
        return self._healthy(name or "", _text(version), live=False, timeout_s=self._timeout_s)

    def wait_ready(self, name: str | None = None, *, timeout_s: float | None = None) -> None:
        """Wait until `ready(name)`. Raises NotReady when `timeout_s` have passed."""
        limit = self._timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit
        pause = threading.Event()
        while not self._healthy(name or "", "", live=False, timeout_s=max(_POLL_S, deadline - time.monotonic())):
            if time.monotonic() + _POLL_S >= deadline:
                raise NotReady(
                    f"{f'model {name!r}' if name else 'the server'} was not ready within {limit:g} s", hint="see the server's log"
                )
            pause.wait(_POLL_S)

    def server(self) -> ServerMetadata:
        """The server's name, version and extensions."""
        return self._call(self._transport.server, None)

    def metadata(self, name: str, version: str | int | None = None) -> ModelMetadata:
        """A model's inputs and outputs. Raises ModelNotFound."""
        return self._call(lambda left: self._transport.metadata(name, _text(version), left), None)

    def infer(
        self,
        name: str,
        inputs: Mapping[str, Tensor],
        *,
        version: str | int | None = None,
        id: str | None = None,  # noqa: A002  # the protocol's own word
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> InferResult:
        """Send named arrays, of the model's own dtypes; get named arrays. BYTES inputs are arrays of `str`, `bytes` or None (missing).

        Raises AweighError: ModelNotFound, InvalidInput, Overloaded, Unavailable, DeadlineExceeded, …
        """
        if not isinstance(inputs, Mapping):
            raise InvalidInput(
                f"inputs is {type(inputs).__name__}, not a mapping from input name to array", hint="rows of columns go to predict()"
            )
        request = InferRequest(model=name, inputs=inputs, version=_text(version), id=id or "", outputs=tuple(outputs or ()))
        return self._call(lambda left: self._transport.infer(request, left), timeout_s)

    @overload
    def predict(
        self, name: str, data: Sequence[Row], *, version: str | int | None = ..., id: str | None = ..., timeout_s: float | None = ...
    ) -> list[dict[str, object]]: ...
    @overload
    def predict(
        self, name: str, data: bytes | Path, *, version: str | int | None = ..., id: str | None = ..., timeout_s: float | None = ...
    ) -> dict[str, object]: ...
    @overload
    def predict(
        self, name: str, data: _FrameT, *, version: str | int | None = ..., id: str | None = ..., timeout_s: float | None = ...
    ) -> _FrameT: ...
    def predict(
        self,
        name: str,
        data: Any,
        *,
        version: str | int | None = None,
        id: str | None = None,  # noqa: A002  # the protocol's own word
        timeout_s: float | None = None,
    ) -> Any:
        """Send rows of named columns, a pandas DataFrame or a list of mappings; get one answer per row, in the same form and order.

        A model that is asked with images or sounds takes one file too, as its path or its bytes, and gives one answer; in rows a file is its bytes.

        A classifier answers `label` and `probability_<class>`, a regressor `prediction`, anything else its outputs' names. Over gRPC the
        columns are always the outputs' own names and every input must be one column, for gRPC's metadata tell no more.
        """
        alone = isinstance(data, bytes | Path)
        rows = [{self.metadata(name, version).inputs[0].name: _file(data)}] if alone else rows_of(data)
        wanted, request_id = _text(version), id or ""
        answers = self._call(lambda left: self._transport.predict(name, wanted, rows, request_id=request_id, timeout_s=left), timeout_s)
        return answers[0] if alone else like(data, answers)

    def promote(
        self,
        name: str,
        version: int | None = None,
        *,
        canary: float = 0.0,
        shadow: float = 0.0,
        timeout_s: float = LOAD_TIMEOUT_S,
        **more: Any,
    ) -> Report:
        """Let another version answer a name: at once, or after a share of the requests (`canary`) or repeated calls (`shadow`) was tried with it.

        `more` are the other fields of `Plan`: sticky, promote_after, bounds (a mapping or `Bounds`). Without a version: the rollout under way is
        promoted, else the newest version. Never repeated. REST only. Raises Conflict, ModelNotFound, and what loading the version raises.
        """
        try:
            plan = check_plan(
                msgspec.convert({"name": name, "candidate": version or 0, "canary": canary, "shadow": shadow, **_plain(more)}, Plan)
            )
        except msgspec.ValidationError as error:
            raise InvalidInput(f"not a rollout: {error}", hint="see the fields of Plan in the reference") from None
        if plan == Plan(name=name):
            try:
                return self._change(name, "/promote", {}, timeout_s)
            except ModelNotFound:
                raise
            except NotFound:  # nothing is under way
                pass
        return self._change(name, "", {field: value for field, value in msgspec.to_builtins(plan).items() if field != "name"}, timeout_s)

    def rollback(self, name: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> Report:
        """End the rollout under way, or go back to the version that was live before. REST only. Raises NotFound where there is none."""
        return self._change(name, "/rollback", {}, timeout_s)

    def rollouts(self, name: str = "") -> list[Report]:
        """The rollouts of one name or of all, those under way first, then the newest. REST only."""
        path = f"/rollouts/{quote(name, safe='')}" if name else "/rollouts"
        return _reports(self._call(lambda left: self._transport.operate(path, None, left), None), list[Report])

    def close(self) -> None:
        """Close all connections; may be called twice."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, attempt_once: Callable[[float], _Answer], timeout_s: float | None) -> _Answer:
        limit = self._timeout_s if timeout_s is None else timeout_s
        if not limit > 0:
            raise InvalidSetting(f"timeout_s is {limit}: expected more than 0 seconds")
        return self._retry.call(attempt_once, limit)

    def _change(self, name: str, verb: str, document: object, timeout_s: float) -> Report:
        path = f"/rollouts/{quote(name, safe='')}{verb}"
        return _reports(self._transport.operate(path, msgspec.json.encode(document), timeout_s), Report)

    def _healthy(self, name: str, version: str, *, live: bool, timeout_s: float) -> bool:
        try:
            return self._transport.healthy(name, version, live=live, timeout_s=timeout_s)
        except (Unavailable, DeadlineExceeded):
            return False


def _plain(more: Mapping[str, Any]) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(dict(more))
    return built


def _reports(body: bytes, form: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError as error:
        raise InternalError(
            f"the server's answer has an unexpected form: {error}", hint="is it an aweigh server of this version?"
        ) from error


def _file(data: bytes | Path) -> bytes:
    """A file's bytes. Raises FileMissing."""
    if isinstance(data, bytes):
        return data
    try:
        return data.read_bytes()
    except OSError as error:
        raise FileMissing(f"{data} cannot be read: {error.strerror}", hint="check the path") from error


def _text(version: str | int | None) -> str:
    return "" if version is None else str(version)


def _endpoint(url: str, protocol: str | None, api_key: str, ca_file: str) -> tuple[str, Endpoint]:
    """The transport's name and where it goes. Raises InvalidSetting naming the part of the URL that is wrong."""
    hint = "write it like http://127.0.0.1:8080 or grpc://127.0.0.1:8080"
    try:
        parts = urlsplit(url if "://" in url else f"{'grpc' if protocol == 'grpc' else 'http'}://{url}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidSetting(f"{url!r} is not a URL: {error}", hint=hint) from error
    if parts.scheme not in _SCHEMES or not host:
        raise InvalidSetting(f"{url!r} is not a URL of an inference server", hint=hint)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidSetting(
            "the URL holds a user, a query or a fragment", hint="give the key as api_key, and only scheme, host, port and path"
        )
    scheme, tls = _SCHEMES[parts.scheme]
    name = protocol or scheme
    path = parts.path.rstrip("/")
    if name == "grpc" and path:
        raise InvalidSetting(f"the URL has the path {path!r}, which gRPC has no place for", hint=hint)
    if any(character in "\r\n" for character in api_key):
        raise InvalidSetting("api_key holds a line break", hint="strip what a file read left at its end")
    if not api_key.isascii():
        raise InvalidSetting(
            "api_key holds a character beyond ASCII, which a header cannot carry", hint="is it the key, or a text about it?"
        )
    if tls and ca_file:
        _check_readable(ca_file)
    return name, Endpoint(host=host, port=port or DEFAULT_PORTS[tls], tls=tls, path=path, api_key=api_key, ca_file=ca_file)


def _check_readable(ca_file: str) -> None:
    """Raises InvalidSetting before a transport meets the file that is not there."""
    try:
        with Path(ca_file).open("rb"):
            pass
    except OSError as error:
        raise InvalidSetting(f"ca_file {ca_file!r} cannot be read: {error.strerror}", hint="check the path") from error
