"""A local web server with TLS whose answers are a table, with Git's own server behind /git/."""

import contextlib
import dataclasses
import gzip
import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from aweigh.sources import Terms

Answer = tuple[int, bytes, dict[str, str]]


@dataclasses.dataclass
class Site:
    """What it answers by path, and what it was asked: path and headers."""

    port: int = 0
    ca_file: str = ""
    answers: dict[str, Answer] = dataclasses.field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = dataclasses.field(default_factory=list)
    said: list[bytes] = dataclasses.field(default_factory=list)
    """Bodies that it was sent."""
    repositories: Path | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        self.answers[path] = (status, body, {name.replace("_", "-"): text for name, text in headers.items()})
        return f"{self.url}{path}"

    def terms(self, **said: Any) -> Terms:
        given = {
            "max_bytes": 10_000_000,
            "timeout_s": 5.0,
            "ca_file": self.ca_file,
            "private_hosts": (f"localhost:{self.port}",),
            "hub": self.url,
        }
        return Terms(**{**given, **said})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Run it until the test ends."""
    found = Site(ca_file=str(tmp_path / "ca.pem"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(found.ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            found.asked.append((self.path, dict(self.headers)))
            if self.path.startswith("/git/") and found.repositories is not None and self.path not in found.answers:
                _git(self, found.repositories)
                return
            if self.command == "POST":
                found.said.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            status, body, headers = found.answers.get(self.path, (404, b"", {}))
            self.send_response(status)
            for name, text in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)
            self.close_connection = True

        do_POST = do_GET

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, address: Any) -> None:
            pass  # clients that hang up belong to the tests

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _git(handler: http.server.BaseHTTPRequestHandler, root: Path) -> None:
    """Git's own server, by CGI."""
    path, _, query = handler.path.removeprefix("/git").partition("?")
    body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    body = gzip.decompress(body) if handler.headers.get("Content-Encoding") == "gzip" else body
    environment = {
        "PATH": os.defpath, "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
        "REQUEST_METHOD": handler.command, "CONTENT_TYPE": handler.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
        "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""), "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1",
    }  # fmt: skip
    done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=20, check=True)
    head, _, data = done.stdout.partition(b"\r\n\r\n")
    lines = [line.decode().split(": ", 1) for line in head.split(b"\r\n")]
    status = next((text for name, text in lines if name == "Status"), "200 OK")
    handler.send_response(int(status[:3]))
    for name, text in lines:
        if name != "Status":
            handler.send_header(name, text)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@pytest.fixture
def repository(tmp_path: Path) -> Callable[[dict[str, bytes]], tuple[Path, str]]:
    """Makes a bare repository of files; its folder and its commit."""

    def make(files: dict[str, bytes]) -> tuple[Path, str]:
        work, bare = tmp_path / "work-tree", tmp_path / "repositories" / "models.git"
        environment = {
            "PATH": os.defpath, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip

        def git(*words: str) -> str:
            return subprocess.run(["git", *words], env=environment, capture_output=True, text=True, check=True, timeout=20).stdout

        git("init", "-q", "-b", "main", str(work))
        for name, data in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(data)
        (work / "link").symlink_to("/etc/hostname")
        git("-C", str(work), "add", "-A")
        git("-C", str(work), "commit", "-q", "-m", "models")
        git("clone", "-q", "--bare", str(work), str(bare))
        return bare, git("-C", str(work), "rev-parse", "HEAD").strip()

    return make
