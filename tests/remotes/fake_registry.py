"""A registry that misbehaves as it is told, on a thread: what a hostile or broken peer may do to push and pull."""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

Handler = http.server.BaseHTTPRequestHandler
BEARER = "Bearer"
BASIC = "Basic"


@dataclasses.dataclass
class FakeRegistry:
    """State and faults. `meddle(handler, method, path)` may answer in the registry's place: it returns True when it did."""

    port: int = 0
    blobs: dict[str, bytes] = dataclasses.field(default_factory=dict)
    manifests: dict[str, bytes] = dataclasses.field(default_factory=dict)
    uploads: dict[str, bytes] = dataclasses.field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = dataclasses.field(default_factory=list)
    auth: str = ""
    token: str = "a-token"
    meddle: Callable[[Handler, str, str], bool] = lambda handler, method, path: False

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def asked(self, method: str, pattern: str = "") -> list[str]:
        """The paths asked with a method."""
        return [path for verb, path, _ in self.requests if verb == method and re.search(pattern, path)]


def send(handler: Handler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given.setdefault("Content-Length", str(len(body)))
    for name, value in given.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def body_of(handler: Handler) -> bytes:
    return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))


@contextlib.contextmanager
def fake_registry(state: FakeRegistry | None = None) -> Iterator[FakeRegistry]:
    """Run it until the block ends."""
    registry = state or FakeRegistry()

    class Answers(Handler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def log_message(self, *_: Any) -> None:
            pass

        def handle_any(self) -> None:
            registry.requests.append((self.command, self.path, dict(self.headers)))
            if not registry.meddle(self, self.command, self.path) and _known(registry, self):
                _answer(registry, self)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, address: Any) -> None:
            pass  # clients that hang up belong to the tests

    server = Server(("127.0.0.1", 0), Answers)
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _known(registry: FakeRegistry, handler: Handler) -> bool:
    """Whether the request brings what `auth` wants; answers it where it does not, and the token server."""
    given = handler.headers.get("Authorization", "")
    basic = BASIC + " " + base64.b64encode(b"team:pw").decode()
    if handler.path.startswith("/token"):
        if given == basic:
            send(handler, 200, json.dumps({"token": registry.token}).encode())
        else:
            send(handler, 401)
        return False
    wanted = {BEARER: f"Bearer {registry.token}", BASIC: basic}.get(registry.auth, given)
    if given == wanted:
        return True
    body_of(handler)
    challenge = (
        f'Bearer realm="http://{registry.host}/token",service="here",scope="repository:other:*"'
        if registry.auth == BEARER
        else 'Basic realm="x"'
    )
    send(handler, 401, WWW_Authenticate=challenge)
    return False


def _answer(registry: FakeRegistry, handler: Handler) -> None:
    path, _, query = handler.path.partition("?")
    parts = path.removeprefix("/v2/").split("/")
    if path == "/v2/":
        send(handler, 200)
    elif "uploads" in parts:
        _upload(registry, handler, path, query)
    elif parts[-2] == "blobs":
        _blob(registry, handler, parts[-1])
    elif parts[-2:] == ["tags", "list"]:
        tags = [tag for tag in registry.manifests if not tag.startswith("sha256:")]
        send(handler, 200, json.dumps({"name": "x", "tags": tags}).encode())
    elif handler.command == "PUT":
        data = body_of(handler)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        registry.manifests[parts[-1]] = registry.manifests[digest] = data
        send(handler, 201, Docker_Content_Digest=digest)
    elif parts[-1] in registry.manifests:
        send(handler, 200, registry.manifests[parts[-1]])
    else:
        send(handler, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')


def _blob(registry: FakeRegistry, handler: Handler, digest: str) -> None:
    data = registry.blobs.get(digest)
    if data is None:
        send(handler, 404)
        return
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if asked:
        at = int(asked[1])
        send(handler, 206, data[at:], Content_Range=f"bytes {at}-{len(data) - 1}/{len(data)}")
    else:
        send(handler, 200, data)


def _upload(registry: FakeRegistry, handler: Handler, path: str, query: str) -> None:
    held = registry.uploads.get(path)
    if handler.command == "POST":
        place = f"{path.rstrip('/')}/{len(registry.uploads)}"
        registry.uploads[place] = b""
        body_of(handler)
        send(handler, 202, Location=place)
    elif held is None:
        body_of(handler)
        send(handler, 404)
    elif handler.command == "GET":
        send(handler, 204, Location=path, Range=f"0-{max(0, len(held) - 1)}")
    else:
        registry.uploads[path] = held = held + body_of(handler)
        if handler.command == "PATCH":
            send(handler, 202, Location=path, Range=f"0-{len(held) - 1}")
            return
        digest = re.search(r"digest=([^&]+)", query)
        found = "sha256:" + hashlib.sha256(held).hexdigest()
        if digest is None or digest[1].replace("%3A", ":") != found:
            send(handler, 400, b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}')
        else:
            registry.blobs[found] = held
            send(handler, 201, Docker_Content_Digest=found)
