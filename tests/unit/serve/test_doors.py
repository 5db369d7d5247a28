"""Router, guard and status tables: nothing is open that nobody opened, and every kind of error has its number."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path

import pytest
from tests.serving.kit import Http2Peer, Rig, exchange, model, rig

from aweigh.core.errors import Conflict, FileMissing, InvalidFile, InvalidSetting, Kind, NotFound, all_errors
from aweigh.core.settings import Settings
from aweigh.engine.dataplane import DataPlane
from aweigh.protos import message
from aweigh.serve.guard import Authoriser, is_loopback, make_authoriser, read_keys
from aweigh.serve.message import Head, Request, Response
from aweigh.serve.router import Permission, Route, Router
from aweigh.serve.server import make_dispatcher
from aweigh.serve.status import GRPC_CODE, HTTP_STATUS, grpc_error, json_error

KEY = "right-right-right"
MATRIX = Path(__file__).with_name("authorisation.json")
"""Every route: what it answers without a key, with a wrong one, with the right one. A new route is entered here by hand."""


def routes() -> list[Route]:
    dataplane = DataPlane(Settings())
    dataplane.add(model())
    return make_dispatcher(dataplane, Authoriser())._router.routes()


async def ask_grpc(server: Rig, path: str, key: str) -> int:
    """The status, 0 for a stream that answers and goes on."""
    peer = Http2Peer(server)
    stream = peer.call(b"", path, *([("authorization", f"Bearer {key}")] if key else []))
    peer.pump()
    reply = peer.response(stream)
    return reply.grpc_status if reply.ended else 0


def ask(route: Route, key: str) -> int:
    server = rig(keys={"one": sha256(KEY.encode()).digest()})
    path = route.template.replace("{name}", "iris").replace("{version}", "1").replace("{region}", "r").replace("{repository}", "r")
    if route.grpc:
        return asyncio.run(ask_grpc(server, path, key))
    lines = [f"{route.method} {path} HTTP/1.1", "Host: a", "Content-Length: 2", *([f"Authorization: Bearer {key}"] if key else [])]
    return exchange(server, ("\r\n".join(lines) + "\r\n\r\n{}").encode())[0].status


def test_every_route_answers_strangers_as_the_matrix_says() -> None:
    found = {f"{route.method} {route.template}": [ask(route, key) for key in ("", "wrong", KEY)] for route in routes()}
    assert found == json.loads(MATRIX.read_text())


def test_only_health_and_the_front_page_are_public() -> None:
    public = {route.template for route in routes() if route.permission is Permission.PUBLIC}
    assert public == {
        "/", "/live", "/ping", "/ready", "/v2/health/live", "/v2/health/ready", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
        "/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady",
    }  # fmt: skip


def answer(_: Request) -> Response:
    return Response(200)


def failure(*_: object) -> Response:
    return Response(500)


def test_a_route_without_a_permission_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="permission"):
        Route(method="GET", template="/x", handler=answer, failure=failure)  # type: ignore[call-arg]


def test_what_no_rule_grants_is_denied() -> None:
    from aweigh.core.errors import Denied

    for guard in (Authoriser(), Authoriser({"a": b""})):
        with pytest.raises(Denied):
            guard.check("publish", {})  # type: ignore[arg-type]


class Dialect:
    name = "test"

    def __init__(self, *templates: str) -> None:
        self._templates = templates

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", template=each, permission=Permission.PUBLIC, handler=answer, failure=failure) for each in self._templates
        ]

    def failure(self, *_: object) -> Response:
        return failure()


def test_two_routes_for_one_path_conflict() -> None:
    with pytest.raises(Conflict, match="two routes"):
        Router([Dialect("/a/{name}/c", "/a/b"), Dialect("/a/{other}/c")])
    Router([Dialect("/a/{name}/c"), Dialect("/a/{name}/d", "/a/{name}")])


def probe(service: str, key: str, method: str = "Check") -> tuple[int, str, bytes]:
    """What a caller is told of the health of a model: status, text and first answer."""

    async def ask() -> tuple[int, str, bytes]:
        peer = Http2Peer(rig(keys={"one": sha256(KEY.encode()).digest()}))
        asked = message("grpc.health.v1.HealthCheckRequest")(service=service).SerializeToString()
        stream = peer.call(asked, f"/grpc.health.v1.Health/{method}", *([("authorization", f"Bearer {key}")] if key else []))
        peer.pump()
        reply = peer.response(stream)
        return (reply.grpc_status, reply.grpc_text, reply.data) if reply.ended else (0, "", reply.data)

    return asyncio.run(ask())


def test_strangers_are_not_told_which_models_there_are() -> None:
    server = rig(keys={"one": sha256(KEY.encode()).digest()})
    for key in ("", "wrong"):
        line = "X-Request-Id: 1\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
        for path in ("/v2/models/{}/ready", "/v2/models/{}/versions/1/ready", "/v2/models/{}", "/v2/models/{}/config", "/predict/{}"):
            said = [exchange(server, f"GET {path.format(name)} HTTP/1.1\r\nHost: a\r\n{line}\r\n".encode())[0] for name in ("iris", "irs")]
            assert (said[0].status, said[0].body) == (said[1].status, said[1].body)
            assert said[0].status == 401
        for method in ("Check", "Watch"):
            assert probe("iris", key, method) == probe("irs", key, method)
            assert probe("iris", key, method)[0] == 16
    assert probe("", "")[::2] == probe("iris", KEY)[::2] == (0, b"\0\0\0\0\2\x08\1")
    assert probe("irs", KEY)[0] == 5
    known = f"GET /v2/models/iris/ready HTTP/1.1\r\nHost: a\r\nX-Api-Key: {KEY}\r\n\r\n"
    assert [exchange(server, ask.encode())[0].status for ask in (known, known.replace("iris", "irs"))] == [200, 404]


HOSTILE = [
    "..", "%2e%2e", "..%2f", "%2e%2e%2f", "..%252f..", "a%00b", "C:%5C", "%2F%2Fhost", "file:%2F%2F%2Fetc", "%ff", "%c3%28", "a%0ab", ".", "%20",
    "CON", "a" * 4096, "iris%20", "%C3%A4", "iris#/../../etc", "?/../", "%", "%zz", "\u0131".encode().hex(),
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_in_paths_reach_nothing(name: str) -> None:
    for path in (f"/v2/models/{name}/infer", f"/v2/models/iris/versions/{name}/infer", f"/predict/{name}"):
        found = exchange(rig(), f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        assert found[0].status in {400, 404, 405}, path


def test_statuses_cover_every_kind() -> None:
    assert set(HTTP_STATUS) == set(GRPC_CODE) == set(Kind)
    head = Head(method="", path="", query="", headers={}, route=routes()[0], params={})
    for cls in all_errors():
        error = cls("what failed", hint="what to do")
        plain, grpc = json_error(error), grpc_error(error)
        assert 400 <= plain.status < 600
        assert json.loads(plain.body)["error"].startswith("what failed")
        assert b"what to do" in plain.body
        assert (grpc.code, grpc.text.startswith("what failed")) == (GRPC_CODE[cls.kind], True)
        assert 0 < grpc.code <= 16
        for route in routes():
            said = route.failure(error, Request(head, b"", lambda: b"id", lambda *_: None))
            assert (said.status if isinstance(said, Response) else said.code) == (grpc.code if route.grpc else plain.status)
    assert dict(json_error(NotFound("x")).headers) == {}
    retry = {kind: dict(json_error(next(c for c in all_errors() if c.kind is kind)("x")).headers) for kind in Kind}
    assert retry[Kind.OVERLOADED] == retry[Kind.UNAVAILABLE] == {b"retry-after": b"1"}
    assert b"www-authenticate" in retry[Kind.UNAUTHENTICATED]


def test_messages_that_quote_what_has_no_utf8_are_said_all_the_same() -> None:
    assert json.loads(json_error(NotFound("\ud800", hint="\udfff")).body)["error"].startswith("\\ud800")
    assert json.loads(json_error(NotFound("a"), hint="\ud800").body)["hint"] == "\\ud800"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "keys"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_keys_are_read_with_or_without_names(tmp_path: Path) -> None:
    keys = read_keys(write(tmp_path, f"# ours\n\nalice: {'a' * 16}\n  {'b' * 32}  \n"))
    assert keys == {"alice": sha256(b"a" * 16).digest(), "key-4": sha256(b"b" * 32).digest()}
    guard = Authoriser(keys)
    for headers in (
        {b"authorization": b"Bearer " + b"a" * 16}, {b"authorization": b"bearer  " + b"a" * 16}, {b"x-api-key": b"a" * 16},
        {b"authorization": b"Basic abc", b"x-api-key": b"a" * 16},
    ):  # fmt: skip
        assert guard.check(Permission.PREDICT, headers) == "alice"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key"), ("# only\n", "holds no key"), ("short\n", "keys:1: the key is 5 characters"), ("\nbob:short\n", "keys:2"),
        (f"a:{'x' * 16}\na:{'y' * 16}\n", "keys:2: a second key named 'a'"), (b"\xff\xfe", "cannot be read"),
    ],
)  # fmt: skip
def test_key_files_with_mistakes(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(InvalidFile, match=said):
        read_keys(write(tmp_path, text))


def test_key_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        read_keys(tmp_path / "none")
    with pytest.raises(InvalidFile):
        read_keys(tmp_path)
    with pytest.raises(FileMissing):
        make_authoriser(Settings(api_key_file=str(tmp_path / "none")))


def test_a_door_that_others_can_reach_is_not_left_open(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(InvalidSetting, match="nothing guards it"):
            make_authoriser(Settings(host=host))
        assert make_authoriser(Settings(host=host, no_auth=True)).open
        assert not make_authoriser(Settings(host=host, api_key_file=str(write(tmp_path, "x" * 16)))).open
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert is_loopback(host)
        assert make_authoriser(Settings(host=host)).open
