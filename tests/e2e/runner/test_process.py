"""The runner as a process over ONNX Runtime itself: ready, asked in pieces and at once, drained, and held against the server's answers."""

import contextlib
import http.client
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.deploying.packages import ROWS, deploy, pack_linear, publish
from tests.runner.kit import Running, lay_out, once, running

from aweigh.app.startup import startup
from aweigh.core.settings import Settings
from aweigh.deploy.bundle import runner_bundle
from aweigh.deploy.runner_library import this_machine
from aweigh.engine.lifecycle import load_model

value = helper.make_tensor_value_info


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pack_linear(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def folder(package: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = runner_bundle(package, package.manifest.variants[0], this_machine(), cache=tmp_path_factory.mktemp("cache"))
    return lay_out(files, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def served(folder: Path) -> Any:
    with running(folder, "--port", "0") as process:
        yield process


def ask(on: Running, path: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", on.port, timeout=10)
    connection.request("POST", path, json.dumps(body))
    response = connection.getresponse()
    told = json.loads(response.read())
    connection.close()
    return response.status, told


def test_it_answers_as_the_package_does_in_process(package: Any, served: Running) -> None:
    expected = load_model(package, Settings()).run({"x": ROWS})[0]
    asked = {"inputs": [{"name": "x", "shape": list(ROWS.shape), "datatype": "FP32", "data": ROWS.ravel().tolist()}]}
    status, told = ask(served, "/v2/models/linear/infer", asked)
    assert status == 200
    np.testing.assert_array_equal(np.float32(told["outputs"][0]["data"]).reshape(-1, 3), expected)
    status, told = ask(served, "/predict/linear", ROWS[:2].tolist())
    assert [row["y"] for row in told["predictions"]] == expected[:2].astype(float).tolist()


def test_what_is_loaded_is_the_standard_library(folder: Path) -> None:
    told = once(folder, "--parts")
    assert {"start", "fetch", "import", "load", "replay", "first answer", "total"} == set(told["parts"])
    assert not {"numpy", "aweigh", "site", "json", "re", "enum", "typing", "socket", "threading", "http", "email"} & set(told["modules"])
    assert len(told["answer"]["predictions"]) == 1


def test_requests_in_pieces_and_several_at_once(served: Running) -> None:
    body = b"[[1,2,3,4]]"
    one = b"POST /predict/linear HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as slow:
        slow.sendall(one[:30])
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as quick:
            quick.sendall(one * 50 + one.replace(b"host: a", b"host: a\r\nconnection: close"))
            assert read_all(quick).count(b"HTTP/1.1 200 OK") == 51
        slow.sendall(one[30:])
        assert slow.recv(4096).startswith(b"HTTP/1.1 200 OK")


def read_all(stream: socket.socket) -> bytes:
    data = b""
    while piece := stream.recv(65536):
        data += piece
    return data


def test_a_peer_that_does_not_read_holds_nobody_up(served: Running) -> None:
    rows = json.dumps([[0.1, 0.2, 0.3, 0.4]] * 2000).encode()
    one = b"POST /predict/linear HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(rows), rows)
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as deaf:
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(200):
                deaf.sendall(one)
        assert ask(served, "/predict/linear", [[1, 2, 3, 4]])[0] == 200


def test_smuggled_requests_end_the_connection(served: Running) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as stream:
        stream.sendall(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhelloGET / HTTP/1.1\r\nhost: a\r\n\r\n"
        )
        told = read_all(stream)
    assert told.count(b"HTTP/1.1") == 1
    assert told.startswith(b"HTTP/1.1 400")


def test_it_answers_what_was_asked_before_it_ends(folder: Path) -> None:
    with running(folder, environment={"PORT": "0", "HOST": "127.0.0.1"}) as process:
        body = b"[[1,2,3,4]]"
        head = b"POST /predict/linear HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
        with (
            socket.create_connection(("127.0.0.1", process.port), timeout=10) as begun,
            socket.create_connection(("127.0.0.1", process.port)),
        ):
            begun.sendall(head)
            time.sleep(0.2)
            process.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            with pytest.raises(OSError):  # noqa: PT011  # refused
                socket.create_connection(("127.0.0.1", process.port), timeout=1)
            begun.sendall(body)
            told = read_all(begun)
        assert told.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in told
        assert process.process.wait(5) == 0


def test_a_request_that_was_on_its_way_to_a_stopping_runner_is_answered(folder: Path) -> None:
    with running(folder, "--port", "0") as process, socket.create_connection(("127.0.0.1", process.port), timeout=10) as kept:
        request = b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n"
        kept.sendall(request)
        assert b"HTTP/1.1 200 OK" in kept.recv(4096)
        process.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        kept.sendall(request)
        assert b"connection: close" in read_all(kept)
        assert process.process.wait(5) == 0


def test_a_socket_in_the_file_system(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "s"
    with running(folder, "--host", f"unix:{place}"), socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(place))
        stream.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        assert read_all(stream).endswith(b"ready\n")
    assert not place.exists()


def test_a_socket_that_was_left_behind_is_taken_over(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "s"
    with running(folder, "--host", f"unix:{place}") as process:
        process.process.kill()
        process.process.wait(5)
    assert place.is_socket()
    with running(folder, "--host", f"unix:{place}"), socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(place))
        with pytest.raises(AssertionError, match="unavailable"), running(folder, "--host", f"unix:{place}") as second:
            assert second.said["event"] == "ready", second.said["event"]
        stream.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        assert read_all(stream).endswith(b"ready\n")
    place.write_text("a file")
    with pytest.raises(AssertionError, match="unavailable"), running(folder, "--host", f"unix:{place}") as third:
        assert third.said["event"] == "ready", third.said["event"]
    assert place.read_text() == "a file"


def test_it_is_never_ready_with_other_answers(folder: Path, package: Any, tmp_path: Path) -> None:
    import shutil

    wrong = tmp_path / "wrong"
    shutil.copytree(folder, wrong)
    graph = onnx.load(str(wrong / "model" / package.manifest.variants[0].files[0]))
    graph.graph.initializer[0].raw_data = (np.frombuffer(graph.graph.initializer[0].raw_data, np.float32) * np.float32(1.01)).tobytes()
    onnx.save(graph, str(wrong / "model" / package.manifest.variants[0].files[0]))
    with pytest.raises(AssertionError, match=r"it ended: 1|golden-mismatch"), running(wrong, "--port", "0") as process:
        assert process.said["event"] == "ready", process.said["code"]
    with pytest.raises(AssertionError, match=r"golden case .* output 'y': row 0: expected"):
        once(wrong)


def test_a_port_that_is_taken_says_so(folder: Path, served: Running) -> None:
    with pytest.raises(AssertionError, match="unavailable"), running(folder, "--port", str(served.port)) as process:
        assert process.said["event"] == "ready", process.said["event"]


def test_texts_and_other_datatypes_go_through_the_library(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    kinds = {
        "t": TensorProto.STRING,
        "h": TensorProto.FLOAT16,
        "d": TensorProto.DOUBLE,
        "i": TensorProto.INT64,
        "b": TensorProto.BOOL,
        "u": TensorProto.UINT8,
    }
    nodes = [helper.make_node("Identity", [name], [f"{name}_again"]) for name in kinds]
    edges = [[value(f"{name}{end}", kind, ["N"]) for name, kind in kinds.items()] for end in ("", "_again")]
    graph = helper.make_graph(nodes, "all", *edges)
    package = publish(home, "all", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    files = runner_bundle(package, package.manifest.variants[0], this_machine(), cache=tmp_path)
    bundle = lay_out(files, tmp_path / "bundle")
    told = once(bundle, "--parts")
    assert (told["answer"], "replay" in told["parts"], "first answer" in told["parts"]) == (None, True, False)
    assert deploy(home, "all", "runner", tmp_path / "deployed").findings == []
    assert startup(Settings(home=str(home)), "all", "runner").path == "runner"
    with running(bundle, "--port", "0") as process:
        data: dict[str, Any] = {
            "t": ["é", "a\0b", ""],
            "d": [1e300, None, -0.5],
            "i": [2**62, -1, 0],
            "b": [True, False, True],
            "u": [0, 255, 1],
        }
        kinds_of = {"t": "BYTES", "d": "FP64", "i": "INT64", "b": "BOOL", "u": "UINT8"}
        entries = [{"name": name, "shape": [3], "datatype": kinds_of[name], "data": values} for name, values in data.items()]
        half = np.float16([1.5, -2, np.inf]).tobytes()
        entries.append({"name": "h", "shape": [3], "datatype": "FP16", "parameters": {"binary_data_size": len(half)}})
        outputs = [{"name": f"{name}_again"} for name in data] + [{"name": "h_again", "parameters": {"binary_data": True}}]
        text = json.dumps({"inputs": entries, "outputs": outputs}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
        connection.request("POST", "/v2/models/all/infer", text + half, {"Inference-Header-Content-Length": str(len(text))})
        response = connection.getresponse()
        told = response.read()
        connection.close()
        length = int(response.headers["Inference-Header-Content-Length"])
        found = {each["name"]: each.get("data") for each in json.loads(told[:length])["outputs"]}
        assert told[length:] == half
        assert [found[f"{name}_again"] for name in ("t", "i", "b", "u")] == [data[name] for name in ("t", "i", "b", "u")]
