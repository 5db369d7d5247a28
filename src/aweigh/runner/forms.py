"""The forms that a request may have, by its path: plain, Open Inference V2, SageMaker, Vertex, and what probes ask. Whatever carries it.

`Forms.answer` never raises: what is wrong with a request is an answer that says so, and what is wrong here is logged and a 500.
"""

from __future__ import annotations

import sys
from _operator import _compare_digest
from posix import environ

from . import jsontext
from .errors import Refusal, not_found
from .message import TEXT, Request, Response
from .rows import rows_of, tensors_of_body, tensors_of_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .model import Model

    Handler = Callable[[Request, str], Response]

_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+=@")
_MAX_ID = 128
_MORE = {401: (("www-authenticate", 'Bearer realm="aweigh"'),), 503: (("retry-after", "1"),)}
_PUBLIC = ("/", "/live", "/ready", "/ping", "/v2/health/live", "/v2/health/ready")
"""What GET and HEAD ask without a key."""


def setting(name: str, default: str = "") -> str:
    """A variable of the environment."""
    return environ.get(name.encode(), default.encode()).decode("utf-8", "surrogateescape")


def _method(request: Request) -> str:
    return "GET" if request.method == "HEAD" else request.method


def _always(body: bytes) -> Handler:
    """Whoever can connect is answered so: before the model is ready nobody can."""
    return lambda *_: Response(200, body, TEXT)


class Forms:
    """All forms of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.spec = spec = model.spec
        self.name: str = spec["name"]
        self.version: str = spec["version"]
        self._key = setting("AWEIGH_API_KEY").encode()
        self._open_inference: Any = None
        self._count = 0
        ping, predict = setting("AIP_HEALTH_ROUTE"), setting("AIP_PREDICT_ROUTE")
        self.routes: dict[tuple[str, str], Handler] = {
            ("GET", "/live"): _always(b"live\n"),
            ("GET", "/ready"): _always(b"ready\n"),
            ("GET", "/ping"): _always(b""),
            ("GET", "/"): self._index,
            ("POST", "/"): self._plain,
            ("POST", "/invocations"): self._invocations,
            **({("GET", ping): _always(b"")} if ping else {}),
            **({("POST", predict): self._instances} if predict else {}),
        }
        self._public = {("GET", path) for path in (*_PUBLIC, ping)}

    def answer(self, request: Request) -> Response:
        """The answer, whatever happens."""
        request.id = self._identity(request)
        try:
            self.admit(request)
            handler, rest = self._find(_method(request), request.path)
            return handler(request, rest)
        except Refusal as error:
            return self.failure(error, request)
        except (MemoryError, RecursionError) as error:
            return self.failure(Refusal(f"the request takes too much: {error!r}", status=413, code="too-large"), request)
        except Exception as error:  # noqa: BLE001  # the boundary: a traceback goes to the log, never to whoever asked
            sys.excepthook(*sys.exc_info())
            return self.failure(Refusal(f"the server failed: {error.__class__.__name__}", status=500, code="internal"), request)

    def failure(self, error: Refusal, request: Request) -> Response:
        """An error as JSON, in the form of the door that was knocked at."""
        request.id = request.id or self._identity(request)
        if request.path.startswith("/v2"):
            said = {"error": error.message, **({"hint": error.hint} if error.hint else {})}
        else:
            said = {"error": error.message, "code": error.code, "hint": error.hint, "request_id": request.id}
        return Response(error.status, jsontext.write(said), headers=_MORE.get(error.status, ()))

    def _identity(self, request: Request) -> str:
        given = request.headers.get("x-request-id", "")
        if given and len(given) <= _MAX_ID and _ID.issuperset(given):
            return given
        self._count += 1
        return f"runner-{self._count:x}"

    def admit(self, request: Request) -> None:
        """Raise Refusal for who has no key: known from the head alone."""
        if not self._key or (_method(request), request.path) in self._public:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        sent = key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "").strip()
        if not _compare_digest(sent.encode(), self._key):
            what = "the API key is not known" if sent else "no API key was sent"
            raise Refusal(what, hint="send 'Authorization: Bearer KEY'", status=401, code="unauthenticated")

    def _find(self, method: str, path: str) -> tuple[Handler, str]:
        handler = self.routes.get((method, path))
        if handler is not None:
            return handler, ""
        allowed = [other for other, known in self.routes if known == path]
        if path.startswith("/predict/"):
            rest, allowed = self._named(path[len("/predict/") :]), ["GET", "POST"]
            handler = {"GET": self._describe, "POST": self._plain}.get(method) if not rest else None
        elif path == "/v2" or path.startswith("/v2/"):
            return self._open(), path[len("/v2") :]
        if handler is not None:
            return handler, ""
        if allowed:
            raise Refusal(f"{method} {path}: not allowed", hint=f"send {' or '.join(allowed)}", status=405, code="invalid-input")
        raise not_found(f"{method} {path[:200]}: no such route", hint="GET / lists them")

    def _named(self, text: str) -> str:
        """What follows the model's name and version in a path. Raises Refusal for another model, or another version."""
        name, _, rest = text.partition("/")
        if name != self.name:
            raise Refusal(f"model '{name[:80]}' is not here", hint=f"there is '{self.name}'", status=404, code="model-not-found")
        if rest.startswith("versions/"):
            version, _, rest = rest[len("versions/") :].partition("/")
            if version != self.version:
                hint = f"there is version {self.version}"
                raise Refusal(f"model '{name}' has no version '{version[:20]}' here", hint=hint, status=404, code="model-not-found")
        return rest

    def _open(self) -> Handler:
        if self._open_inference is None:
            from .open_inference import OpenInference  # imported when it is first asked for: a start does not wait for it

            self._open_inference = OpenInference(self._model, self._named)
        return self._open_inference.answer  # type: ignore[no-any-return]  # bound just above

    def _index(self, request: Request, rest: str) -> Response:
        paths = ["/predict/{name}", "/v2", "/live", "/ready", "/ping", "/invocations"]
        return Response(200, jsontext.write({"name": "aweigh", "model": self.name, "version": self.version, "paths": paths}))

    def _describe(self, request: Request, rest: str) -> Response:
        spec = self.spec
        keys = ("name", "kind", "nullable", "categories")
        columns = [{key: column[key] for key in keys} for column in spec["columns"]]
        body = {"model": self.name, "version": self.version, "task": spec["task"], "columns": columns, "labels": spec["labels"]}
        return Response(200, jsontext.write(body))

    def _plain(self, request: Request, rest: str) -> Response:
        return Response(200, jsontext.write({**self.predict(jsontext.read(request.body)), "id": request.id}))

    def predict(self, body: Any) -> dict[str, Any]:
        """The plain answer to a plain body. Raises Refusal."""
        rows = rows_of(self._model.ask(tensors_of_body(body, self.spec)), self.spec)
        return {"model": self.name, "version": self.version, "predictions": rows}

    def _invocations(self, request: Request, rest: str) -> Response:
        """SageMaker's: JSON as the plain form has it, or CSV."""
        from . import sagemaker

        return sagemaker.answer(request, self._model)

    def _instances(self, request: Request, rest: str) -> Response:
        """Vertex's: {"instances": rows} gets {"predictions": rows}."""
        asked = jsontext.read(request.body)
        if not isinstance(asked, dict) or not isinstance(asked.get("instances"), list):
            raise Refusal('the body has no list "instances"', hint='send {"instances": [row, …]}')
        rows = rows_of(self._model.ask(tensors_of_rows(asked["instances"], self.spec)), self.spec)
        return Response(200, jsontext.write({"predictions": rows}))
