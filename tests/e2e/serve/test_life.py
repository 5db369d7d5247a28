"""The life of a server process: how it is ended by hand, who may reach it, and who may not disturb it. (Ends under load: tests/faults.)"""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.serving.kit import BODY, INFER, answers, infer_message, post
from tests.serving.served import AWEIGH, Served

DEAR = "/v2/models/dear/infer"


def connect(server: Served) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65_536):
        data += piece
    return data


def in_flight(server: Served) -> int:
    text = server.get("/metrics").decode()
    return int(text.partition('aweigh_requests_in_flight{model="dear",version="1"} ')[2].partition("\n")[0])


def test_sigint_ends_it_as_well(serve) -> None:  # type: ignore[no-untyped-def]
    assert serve("linear").end(signal.SIGINT) == 0


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home)}
    return subprocess.run([AWEIGH, "serve", *words], capture_output=True, text=True, timeout=30, env=env, check=False)


def test_a_taken_port_is_said_before_anything_is_loaded(server: Served, home: Path) -> None:
    done = run(home, "linear", "--port", str(server.port))
    assert done.returncode == 4
    assert f"port {server.port} on 127.0.0.1 is in use" in done.stderr
    assert "--port 0" in done.stderr


def test_an_open_door_on_a_public_address_is_refused(home: Path) -> None:
    done = run(home, "linear", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "nothing guards it" in done.stderr
    assert "--api-key-file" in done.stderr


def test_keys_are_asked_for_on_both_protocols(serve, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    key = "a-key-of-many-letters"
    (tmp_path / "keys").write_text(f"alice: {key}\n")
    server: Served = serve("linear", "--host", "0.0.0.0", "--api-key-file", str(tmp_path / "keys"))
    with connect(server) as connection:
        connection.sendall(post("/v2/models/linear/infer", BODY) + post("/v2/models/linear/infer", BODY, f"Authorization: Bearer {key}"))
        connection.sendall(post("/v2/models/linear/infer", BODY, "Authorization: Bearer wrong", "Connection: close"))
        found = answers(read_all(connection))
    assert [one.status for one in found] == [401, 200, 401]
    assert "Bearer" in found[0].headers["www-authenticate"]
    assert b"key" in found[0].body
    assert (server.get("/live"), server.get("/ready"), server.get("/v2/health/ready")) == (b"live\n", b"ready\n", b"")
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(INFER)
        payload = infer_message(name="linear").SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            call(payload, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert call(payload, timeout=5, metadata=[("authorization", f"Bearer {key}")])
    assert key not in "".join(server.log)


def test_logs_are_json_with_a_line_for_each_request_inline_or_on_threads(serve) -> None:  # type: ignore[no-untyped-def]
    server: Served = serve("linear", "dear", "--log-format", "json", "--access-log")
    with connect(server) as connection:
        connection.sendall(post("/v2/models/linear/infer", BODY, "X-Request-Id: one") + post(DEAR, BODY, "X-Request-Id: two"))
        connection.sendall(post("/v2/models/linear/infer", b"{", "X-Request-Id: three", "Connection: close"))
        assert [one.status for one in answers(read_all(connection))] == [200, 200, 400]
    with grpc.insecure_channel(server.target) as channel:
        channel.unary_unary(INFER)(infer_message(name="dear").SerializeToString(), timeout=5, metadata=[("x-request-id", "four")])
    assert server.end() == 0
    lines = [json.loads(line) for line in server.log]
    asked = {line["request_id"]: line for line in lines if line["event"] == "request"}
    assert [(name, asked[name]["status"]) for name in ("one", "two", "three", "four")] == [
        ("one", 200),
        ("two", 200),
        ("three", 400),
        ("four", 0),
    ]
    assert asked["two"]["path"] == DEAR
    assert {"draining", "stopped"} <= {line["event"] for line in lines}


@pytest.fixture
def quick(serve) -> Iterator[Served]:  # type: ignore[no-untyped-def]
    """A server with short timeouts."""
    return serve("linear", "dear", "--request-timeout-s", "2", "--max-body-bytes", "1000000")


def slowest_ms(server: Served, count: int = 200) -> float:
    """The 99th percentile of small requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        connection.request("POST", "/v2/models/linear/infer", BODY)
        assert connection.getresponse().read()
        times.append(time.perf_counter() - started)
    connection.close()
    return sorted(times)[int(count * 0.99)] * 1000


def test_slow_silent_and_unread_connections_disturb_nobody_and_are_ended(quick: Served) -> None:
    trickling, uploading = connect(quick), connect(quick)
    silent = [connect(quick) for _ in range(300)]
    deaf = connect(quick)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw = post("/v2/models/linear/infer", BODY)
    uploading.sendall(raw[:-60])
    stop = threading.Event()

    def trickle() -> None:
        for at in range(1000):
            if stop.wait(0.2):
                return
            for connection, piece in ((trickling, raw[at : at + 1]), (uploading, b" ")):
                try:
                    connection.send(piece)
                except OSError:
                    continue

    def never_read() -> None:
        deaf.settimeout(1)
        try:
            while not stop.is_set():
                deaf.sendall(post("/v2/models/linear/infer", BODY) * 100)
        except OSError:
            return

    threads = [threading.Thread(target=trickle), threading.Thread(target=never_read)]
    for thread in threads:
        thread.start()
    try:
        assert slowest_ms(quick) < 250
        assert answers(read_all(trickling))[0].status == 408
        assert answers(read_all(uploading))[0].status == 408
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
        for connection in [*silent, trickling, uploading, deaf]:
            connection.close()
    assert slowest_ms(quick, 20) < 250


def test_clients_that_vanish_leave_nothing_behind(quick: Served) -> None:
    raw = post(DEAR, BODY)
    for cut in range(1, len(raw), max(1, len(raw) // 50)):
        connection = connect(quick)
        connection.sendall(raw[:cut])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    leaving = [connect(quick) for _ in range(20)]
    for connection in leaving:
        connection.sendall(raw)
        connection.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        text = quick.get("/metrics").decode()
        if "aweigh_connections 1\n" in text and in_flight(quick) == 0:
            break
        time.sleep(0.02)
    assert "aweigh_connections 1\n" in text
    assert in_flight(quick) == 0


def test_a_body_that_is_declared_but_never_sent_costs_nothing(quick: Served) -> None:
    with connect(quick) as connection:
        connection.sendall(post("/v2/models/linear/infer", b"x" * 10, length=2**30))
        assert answers(read_all(connection))[0].status == 413
    with connect(quick) as connection:
        connection.sendall(
            b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 70_000
        )
        assert answers(read_all(connection))[0].status == 413
