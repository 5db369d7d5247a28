"""Routes: which dialect answers which path, and what permission that takes. A route without a permission cannot be made.

Consulted once per distinct head; the wire keeps what was decided.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol
from urllib.parse import unquote

from aweigh.core.errors import AweighError, Conflict, InvalidInput
from aweigh.serve.message import AnyResponse, Conversation, Handler, Request, Talk


class Permission(enum.StrEnum):
    """What a route asks of its caller. `public` is for health alone."""

    PUBLIC = "public"
    PREDICT = "predict"
    OPERATE = "operate"


class Dialect(Protocol):
    """A wire API: translates, and owns the form of its errors."""

    name: str

    def routes(self) -> list["Route"]:
        """Every route of the dialect."""
        ...

    def failure(self, error: AweighError, request: Request) -> AnyResponse:
        """An error in the dialect's own form."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`template` has named segments in braces: /v2/models/{name}/infer. `grpc` routes answer over HTTP/2 only."""

    method: str
    template: str
    permission: Permission
    handler: Handler
    failure: Callable[[AweighError, Request], AnyResponse]
    grpc: bool = False
    views: Callable[[Mapping[bytes, bytes]], bool] | None = None
    """Whether the handler takes a large body under these headers as `request.view`."""
    converse: Callable[[Talk], Conversation] | None = None
    """Of a streaming gRPC method: begins a call. `handler` then only answers what is refused before that."""
    bodies: Callable[[Mapping[bytes, bytes]], Handler | None] | None = None
    """Of a route that takes bodies of several kinds: what answers requests with these headers in place of `handler`; None where that is right."""
    again: Handler | None = None
    """What answers a request once more, by another model, where that is not `handler`: its body has been decoded then."""


class RouteNotFound(Exception):
    """No route has this path; `allowed` lists the methods that the path has, if any."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(", ".join(allowed))
        self.allowed = allowed


_MAX_SEGMENTS: Final = 16


class Router:
    """All routes of all dialects. Raises Conflict when two claim the same method and path."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._by_length: dict[int, list[tuple[tuple[str, ...], Route]]] = {}
        for dialect in dialects:
            for route in dialect.routes():
                self._add(route)

    def _add(self, route: Route) -> None:
        segments = tuple(route.template.strip("/").split("/"))
        shape = tuple("{}" if segment.startswith("{") else segment for segment in segments)
        rows = self._by_length.setdefault(len(segments), [])
        for known, other in rows:
            if other.method == route.method and tuple("{}" if s.startswith("{") else s for s in known) == shape:
                raise Conflict(f"two routes answer {route.method} {route.template}", hint="rename one of them")
        rows.append((segments, route))

    def routes(self) -> list[Route]:
        """Every route; the authorisation test walks them."""
        return [route for rows in self._by_length.values() for _, route in rows]

    def resolve(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """The route and its parameters. Raises RouteNotFound; InvalidInput for a path that cannot be a route's."""
        parts = path.strip("/").split("/") if path.startswith("/") and not path.startswith("//") else []
        if not parts or len(parts) > _MAX_SEGMENTS:
            raise RouteNotFound
        allowed: list[str] = []
        for segments, route in self._by_length.get(len(parts), ()):
            params = _match(segments, parts)
            if params is None or (route.grpc and path != route.template):  # a method has one spelling
                continue
            if route.method == method or (method == "HEAD" and route.method == "GET"):
                return route, params
            allowed.append(route.method)
        raise RouteNotFound(tuple(sorted(set(allowed))))


def _match(segments: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for segment, part in zip(segments, parts, strict=True):
        if segment.startswith("{"):
            params[segment[1:-1]] = _decoded(part)
        elif segment != part:
            return None
    return params


def _decoded(part: str) -> str:
    try:
        text = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput(f"path segment {part[:80]!r} is not UTF-8") from None
    if "/" in text or "\\" in text or any(ord(character) < 32 for character in text) or text in {"", ".", ".."}:
        raise InvalidInput(f"path segment {part[:80]!r} cannot be a name", hint="names are lower-case letters, digits, '.', '_' and '-'")
    return text
