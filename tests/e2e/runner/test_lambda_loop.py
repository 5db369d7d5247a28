"""The runner's own loop over Lambda's Runtime API, which a server here stands in for: events, errors, and why a start failed. AWS's emulator runs the image elsewhere."""

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.deploying.packages import pack_linear
from tests.runner.kit import PYTHON, lay_out

from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.runner_library import this_machine

BASE = "/2018-06-01/runtime"


class RuntimeApi:
    """Hands out events, and keeps what comes back: (path behind the base, headers, document)."""

    def __init__(self) -> None:
        self.events: queue.Queue[bytes] = queue.Queue()
        self.told: queue.Queue[tuple[str, dict[str, str], Any]] = queue.Queue()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = api.events.get(timeout=30)
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "abc-1")
                if body.startswith(b"chunked:"):
                    body = body.removeprefix(b"chunked:")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (3, body[:3], len(body) - 3, body[3:]))
                    return
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.told.put((self.path.removeprefix(BASE), dict(self.headers), document))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close" if "error" in self.path else "keep-alive")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the runner is killed while it waits
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    made = RuntimeApi()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package: Any = pack_linear(tmp_path_factory.mktemp("home"))
    files = runner_bundle(package, package.manifest.variants[0], this_machine(), cache=tmp_path_factory.mktemp("cache"))
    return lay_out(files, tmp_path_factory.mktemp("bundle"))


def test_events_are_answered(folder: Path, api: RuntimeApi) -> None:
    command = [PYTHON, "-IS", str(folder / "run.py")]
    process = subprocess.Popen(command, env={"AWS_LAMBDA_RUNTIME_API": api.address}, stderr=subprocess.DEVNULL)
    try:
        request = {"rawPath": "/", "requestContext": {"http": {"method": "POST"}}, "body": "[[1, 2, 3, 4]]"}
        for event in (b"[[1, 2, 3, 4]]", b"[[1, 2]]", b"{", json.dumps(request).encode(), b"chunked:[[4, 3, 2, 1]]"):
            api.events.put(event)
        told = [api.told.get(timeout=30) for _ in range(5)]
    finally:
        process.kill()
        process.wait(10)
    assert [path for path, _, _ in told] == [f"/invocation/abc-1/{kind}" for kind in ("response", "error", "error", "response", "response")]
    assert len(told[0][2]["predictions"][0]["y"]) == 3
    assert told[1][1]["lambda-runtime-function-error-type"] == "invalid-input"
    assert "row 0 is not a list of 4 values" in told[1][2]["errorMessage"]
    assert json.loads(told[3][2]["body"])["predictions"] == told[0][2]["predictions"]
    assert told[4][2]["predictions"] != told[0][2]["predictions"]


def test_why_it_cannot_start_is_told(folder: Path, api: RuntimeApi, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    next((broken / "golden").iterdir()).write_bytes(b"nonsense")
    command = [PYTHON, "-IS", str(broken / "run.py")]
    done = subprocess.run(command, env={"AWS_LAMBDA_RUNTIME_API": api.address}, capture_output=True, timeout=30, check=False)
    path, _, document = api.told.get(timeout=5)
    assert (done.returncode, path) == (1, "/init/error")
    assert "not a tensor file" in document["errorMessage"]
