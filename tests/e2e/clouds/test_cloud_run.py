"""Cloud Run: the image under runc by Cloud Run's contract, and the document through gcloud itself against a service of its form on loopback."""

import concurrent.futures
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from tests.deploying.packages import deploy
from tests.images import need_root, run_container

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
REGION = "europe-west1"
ROW = [5.1, 3.5, 1.4, 0.2]
IMAGE = "registry.example/team/iris@sha256:" + "ab" * 32


class FakeRun(http.server.BaseHTTPRequestHandler):
    """As much of Cloud Run's API as `replace`, `describe` and `delete` ask for."""

    services: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[str]] = []

    def _answer(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _service(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        self.asked.append(f"{self.command} {name}")
        if name in self.services:
            self._answer(200, self.services[name])
        else:
            self._answer(404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}})

    def _keep(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = given["metadata"]["name"]
        self.asked.append(f"{self.command} {name}")
        ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ConfigurationsReady", "RoutesReady")]
        given["metadata"] |= {"generation": 1, "namespace": "my-project", "resourceVersion": "1"}
        given["status"] = {
            "observedGeneration": 1,
            "conditions": ready,
            "url": f"https://{name}.run.example",
            "latestReadyRevisionName": f"{name}-1",
        }
        self.services[name] = given
        self._answer(200, given)

    def do_GET(self) -> None:
        self._service()

    def do_POST(self) -> None:
        self._keep()

    def do_PUT(self) -> None:
        self._keep()

    def do_DELETE(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        self.asked.append(f"DELETE {name}")
        self.services.pop(name, None)
        self._answer(200, {"kind": "Status", "status": "Success"})

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def run_api() -> Iterator[int]:
    FakeRun.services.clear()
    FakeRun.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeRun)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(5)


def gcloud(folder: Path, port: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """gcloud in a mount namespace of its own, where the region's host name is this machine."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost run.localhost {REGION}-run.localhost\n")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://run.localhost:{port}/",
        "CLOUDSDK_CORE_PROJECT": "my-project",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
    }
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(hosts), str(shutil.which("gcloud")), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=environment)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.deploying.packages import pack_linear

    folder = tmp_path_factory.mktemp("cloud-run")
    pack_linear(folder)
    done = deploy(folder, "linear", "cloud-run", folder / "out", image=IMAGE, scale="0..5", set=(f"region={REGION}",))
    assert not done.findings
    return folder / "out"


def test_gcloud_takes_the_document(rendered: Path, run_api: int, tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("needs gcloud (Google Cloud SDK, from no package index)")
    need_root()
    done = gcloud(tmp_path, run_api, "run", "services", "replace", str(rendered / "service.yaml"), f"--region={REGION}", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "New configuration has been applied" in done.stdout + done.stderr
    kept = FakeRun.services["linear"]["spec"]["template"]
    assert kept["spec"]["containers"][0]["image"] == IMAGE
    assert kept["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] == "0"
    bad = tmp_path / "bad.yaml"
    bad.write_text((rendered / "service.yaml").read_text().replace("containerConcurrency", "containerConcurency"))
    done = gcloud(tmp_path, run_api, "run", "services", "replace", str(bad), f"--region={REGION}", "--quiet")
    assert done.returncode != 0
    assert "containerConcurency" in done.stderr
    done = gcloud(tmp_path, run_api, "run", "services", "delete", "linear", f"--region={REGION}", "--quiet")
    assert done.returncode == 0, done.stderr
    assert FakeRun.services == {}


def answer_when_probed(port: int, path: str, document: object) -> tuple[int, Any, float]:
    """As Cloud Run's front does: it holds the request until the start-up probe is answered with 200, then hands it over once."""
    began = time.monotonic()
    body = json.dumps(document).encode()
    while time.monotonic() < began + 60:
        if asked(port, b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").startswith(b"HTTP/1.1 200"):
            break
        time.sleep(0.005)
    waited = time.monotonic() - began
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    answer = asked(port, head.encode() + body)
    head_part, _, found = answer.partition(b"\r\n\r\n")
    return int(head_part[9:12]), json.loads(found), waited


def asked(port: int, data: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(data)
            found = b""
            while piece := connection.recv(65536):
                found += piece
            return found
    except OSError:
        return b""


@pytest.mark.index
def test_the_image_keeps_the_contract_and_answers_the_first_request(rendered: Path, bundle: Path, tmp_path: Path) -> None:
    """PORT says where it listens; nothing is refused from the first request on; SIGTERM ends it within ten seconds."""
    container = yaml.safe_load((rendered / "service.yaml").read_bytes())["spec"]["template"]["spec"]
    environment = {each["name"]: each["value"] for each in container["containers"][0]["env"]}
    assert environment["AWEIGH_HOST"] == "0.0.0.0"
    environment["AWEIGH_HOST"] = "127.0.0.1"  # this machine's network is the container's
    with run_container(bundle, tmp_path / "run", environment=environment, ready="") as started:
        status, said, waited = answer_when_probed(started.port, "/predict/iris", [ROW])
        assert (status, said["predictions"][0]["label"]) == (200, 0), started.said()
        print(f"ready after {waited * 1000:.0f} ms")
        with concurrent.futures.ThreadPoolExecutor(container["containerConcurrency"]) as callers:
            many = callers.map(lambda _: started.post("/predict/iris", [ROW])[0], range(20 * container["containerConcurrency"]))
        assert set(many) == {200}
        began = time.monotonic()
        assert started.stop() == 0
        assert time.monotonic() - began < 10
