"""Programs that people have: curl, h2load, wrk, nghttp; and /metrics, whose counts are those of a client that counts."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving.kit import INFER, grpc_frame, infer_message
from tests.serving.served import Served

from aweigh.protos import message

Program = Callable[[str], str]
BODY = '{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'
SCORES = b'"data":[9.0,15.0,6.0]'


def run(*words: str, text: bytes = b"") -> bytes:
    return subprocess.run(words, input=text, capture_output=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    "how",
    [
        [], ["--http1.0"], ["--http2-prior-knowledge"], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"],
        ["--http2-prior-knowledge", "-H", "Expect: 100-continue"], ["-H", "Connection: close"], ["--http2"],
    ],
    ids=lambda how: " ".join(how) or "plain",
)  # fmt: skip
def test_curl_posts(server: Served, program: Program, how: list[str]) -> None:
    url = f"{server.url}/v2/models/linear/infer"
    found = run(program("curl"), "-sS", "--max-time", "10", *how, "-w", "%{http_code}", "-d", BODY, url)
    assert SCORES in found
    assert found.endswith(b"200")


def test_curl_uploads_what_is_larger_than_one_read(server: Served, program: Program) -> None:
    rows = [[float(at % 7)] * 4 for at in range(20_000)]
    body = json.dumps({"inputs": [{"name": "X", "shape": [len(rows), 4], "datatype": "FP32", "data": rows}]}).encode()
    for how in ([], ["-H", "Transfer-Encoding: chunked"], ["--http2-prior-knowledge"], ["-H", "Expect: 100-continue"]):
        command = [program("curl"), "-sS", "--max-time", "20", *how, "--data-binary", "@-", f"{server.url}/v2/models/linear/infer"]
        found = json.loads(run(*command, text=body))
        assert len(found["outputs"][0]["data"]) == 20_000


def test_curl_gets(server: Served, program: Program) -> None:
    curl = [program("curl"), "-sS", "--max-time", "10"]
    for how in ([], ["--http1.0"], ["--http2-prior-knowledge"]):
        assert json.loads(run(*curl, *how, f"{server.url}/v2"))["name"] == "aweigh"
        assert b"404" in run(*curl, *how, "-i", f"{server.url}/nowhere")
    head = run(*curl, "-I", f"{server.url}/v2").decode()
    assert head.startswith("HTTP/1.1 200 OK")
    assert f"content-length: {len(server.get('/v2'))}" in head
    row = run(*curl, "-d", '{"rows":[{"text":"hi"}]}', f"{server.url}/predict/words")
    assert json.loads(row)["predictions"] == [{"same": "hi"}]
    assert json.loads(run(*curl, f"{server.url}/predict/words"))["columns"][0]["name"] == "text"


def test_curl_carries_the_request_id(server: Served, program: Program) -> None:
    for how in ([], ["--http2-prior-knowledge"]):
        found = run(program("curl"), "-sSi", *how, "-H", "X-Request-Id: mine-1", f"{server.url}/v2").decode().lower()
        assert "x-request-id: mine-1" in found
    found = run(program("curl"), "-sSi", f"{server.url}/v2").decode()
    assert re.search(r"x-request-id: [0-9a-f]{10}-[0-9a-f]+", found)


def counted(server: Served, outcome: str, model: str = "linear") -> int:
    text = server.get("/metrics").decode()
    found = re.search(rf'aweigh_requests_total{{model="{model}",version="1",outcome="{outcome}"}} (\d+)', text)
    return int(found[1]) if found else 0


def histogram(server: Served) -> int:
    found = re.search(r'aweigh_request_duration_seconds_count{model="linear",version="1"} (\d+)', server.get("/metrics").decode())
    return int(found[1]) if found else 0


def test_wrk_and_the_counts(server: Served, program: Program, tmp_path: Path) -> None:
    script = tmp_path / "infer.lua"
    script.write_text(f"wrk.method='POST' wrk.body='{BODY}' wrk.headers['Content-Type']='application/json'")
    before = counted(server, "ok"), histogram(server)
    said = run(program("wrk"), "-t1", "-c16", "-d1s", "-s", str(script), f"{server.url}/v2/models/linear/infer").decode()
    asked = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    assert "Non-2xx" not in said
    assert "Socket errors" not in said
    after = counted(server, "ok"), histogram(server)
    assert asked <= after[0] - before[0] <= asked + 16  # what was under way when wrk stopped
    assert after[0] - before[0] == after[1] - before[1]


def test_h2load_and_the_counts(server: Served, program: Program, tmp_path: Path) -> None:
    payload = tmp_path / "request"
    payload.write_bytes(grpc_frame(infer_message(name="linear").SerializeToString()))
    before = counted(server, "ok")
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    said = run(program("h2load"), "-n2000", "-c4", "-m8", "-d", str(payload), *headers, server.url + INFER).decode()
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "2000 2xx" in said
    assert counted(server, "ok") - before == 2000


def test_h2load_with_more_streams_than_allowed_and_small_windows(server: Served, program: Program, tmp_path: Path) -> None:
    payload = tmp_path / "request"
    payload.write_bytes(grpc_frame(infer_message([1.0] * 8000, name="linear").SerializeToString()))
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-w", "14", "-W", "16"]
    said = run(program("h2load"), "-n400", "-c2", "-m200", "-d", str(payload), *headers, server.url + INFER).decode()
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in said


def test_failures_are_counted_by_kind(server: Served, program: Program) -> None:
    before = counted(server, "invalid"), counted(server, "ok")
    curl = [program("curl"), "-s", f"{server.url}/v2/models/linear/infer", "-d"]
    wrong = [
        BODY.replace("[1,4]", "[1,3]"),
        BODY.replace("FP32", "INT8"),
        BODY.replace('"X"', '"Z"'),
        "nonsense",
        BODY.replace("}]}", '}],"outputs":[{"name":"no"}]}'),
    ]
    for body in wrong:
        assert b"error" in run(*curl, body)
    assert (counted(server, "invalid") - before[0], counted(server, "ok") - before[1]) == (len(wrong), 0)
    assert message("inference.ServerLiveRequest") is not None
