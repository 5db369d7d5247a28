"""`aweigh bench` as people run it, against a real `aweigh serve`: every dialect, gates, JSON, plots, and what goes wrong before a load."""

import json
import os
import socket
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.serving.served import AWEIGH, Served

QUICK = ("--duration", "300ms", "--warmup", "100ms")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(folder / "home")}
    return subprocess.run([AWEIGH, "bench", *words], capture_output=True, text=True, timeout=60, env=environment, cwd=folder, check=False)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr + done.stdout
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("path", "options", "dialect"),
    [
        ("http://{}/v2/models/linear", (), "open-inference-rest"),
        ("http://{}/v2/models/linear/versions/1/infer", ("--binary", "--rows", "3"), "open-inference-rest"),
        ("http://{}/v2/models/words", (), "open-inference-rest"),
        ("http://{}/predict/linear", (), "predict"),
        ("grpc://{}/linear:1", (), "open-inference-grpc"),
        ("grpc://{}/words", (), "open-inference-grpc"),
    ],
)
def test_every_dialect(server: Served, tmp_path: Path, path: str, options: tuple[str, ...], dialect: str) -> None:
    words = ("--rate", "100", "--concurrency", "2", "--expect", "alone", "--json", *QUICK, *options)
    found = document(run(tmp_path, path.format(server.target), *words))
    assert found["dialect"] == dialect
    assert found["format"] == "aweigh-bench-1"
    assert found["same_machine"] is True
    closed, opened = found["runs"]  # type: ignore[misc]  # two runs were asked for
    assert closed["errors"] == opened["errors"] == {}
    assert closed["answered_per_s"] > 20
    assert opened["scheduled"] == pytest.approx(30, abs=25)
    assert "closed loop" in closed["method"]
    assert "due" in opened["method"]
    assert opened["latency"]["percentiles_ms"]["p50"] > 0
    assert any("share this machine" in note for note in found["notes"])  # type: ignore[attr-defined]


def test_rows_of_a_file_and_answers_that_are_known(server: Served, tmp_path: Path, rows: np.ndarray, expected: np.ndarray) -> None:
    np.savez(tmp_path / "rows.npz", X=rows)
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "right.npz", scores=expected)
    np.savez(tmp_path / "wrong.npz", scores=expected + 1)
    url = f"http://{server.target}/v2/models/linear"
    right = document(run(tmp_path, url, "--data", "rows.npz", "--expect", "right.npz", "--concurrency", "2", "--json", *QUICK))
    assert right["asked"]["requests"] == 5  # type: ignore[index]
    assert right["runs"][0]["errors"] == {}  # type: ignore[index]
    wrong = run(tmp_path, f"grpc://{server.target}/linear", "--data", "rows.npy", "--expect", "wrong.npz", "--concurrency", "2", *QUICK)
    assert wrong.returncode == 1
    assert "x wrong answer: $.outputs.scores.data[0] is" in wrong.stdout


def test_gates_decide_the_exit_code(server: Served, tmp_path: Path) -> None:
    words = (f"http://{server.target}/v2/models/linear", "--concurrency", "2", *QUICK)
    passed = run(tmp_path, *words, "--require", "p50 <= 10s", "--require", "errors <= 0%")
    assert passed.returncode == 0, passed.stdout
    assert passed.stdout.count("passed") == 2
    failed = run(tmp_path, *words, "--require", "p99 <= 1us", "--require", "errors <= 0%", "--json")
    assert failed.returncode == 1
    verdicts = json.loads(failed.stdout)["verdicts"]
    assert [verdict["passed"] for verdict in verdicts] == [False, True]


def test_plots(server: Served, tmp_path: Path) -> None:
    url = f"http://{server.target}/v2/models/linear"
    done = run(tmp_path, url, "--concurrency", "1,2", "--plot", "out.svg", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "plot written to out.svg" in done.stdout
    picture = ET.parse(tmp_path / "out.svg").getroot()
    text = " ".join(element.text or "" for element in picture.iter())
    assert "Latency against throughput" in text
    assert "Latency over time" in text
    assert run(tmp_path, url, "--concurrency", "1", "--plot", "out.html", "--json", *QUICK).returncode == 0
    assert "<svg" in (tmp_path / "out.html").read_text()
    drawn = run(tmp_path, url, "--concurrency", "1", "--plot", "-", *QUICK)
    assert "latency by percentile" in drawn.stdout


def test_keys(home: Path, serve: Callable[..., Served], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# ours\nbench: 0123456789abcdef0123\n")
    (tmp_path / "other").write_text("a-key-that-is-not-known\n")
    server = serve("linear", "--api-key-file", str(tmp_path / "keys"))
    for url in (f"http://{server.target}/v2/models/linear", f"grpc://{server.target}/linear"):
        refused = run(tmp_path, url, "--json")
        assert refused.returncode == 1
        failure = json.loads(refused.stdout)["error"]
        assert (failure["code"], failure["hint"]) == ("unauthenticated", "give the key with --api-key-file FILE")
        assert run(tmp_path, url, "--api-key-file", "keys", "--concurrency", "1", *QUICK).returncode == 0
    assert run(tmp_path, url, "--api-key-file", "other").returncode == 1
    assert run(tmp_path, url, "--header", "authorization: Bearer 0123456789abcdef0123", "--concurrency", "1", *QUICK).returncode == 0


def test_mistakes_about_the_server(server: Served, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        cases = [
            ((f"http://127.0.0.1:{port}/v2/models/x",), 4, "Connection refused"),
            ((f"grpc://127.0.0.1:{port}/x",), 4, "Connection refused"),
            ((f"http://{server.target}/v2/models/nope",), 3, "nope"),
            ((f"grpc://{server.target}/nope",), 3, "nope"),
            ((f"http://{server.target}/predict/nope",), 3, "nope"),
            ((f"http://{server.target}",), 2, "names a server and no model"),
            ((f"http://{server.target}/elsewhere",), 2, "no route of a dialect"),
            ((f"http://{server.target}/elsewhere", "--body", "body.json"), 3, "404"),
            ((f"http://{server.target}/v2/models/linear", "--body", "body.json"), 2, "refused: the server answered 400"),
        ]
        (tmp_path / "body.json").write_text("{}")
        for words, code, text in cases:
            done = run(tmp_path, *words)
            assert (done.returncode, done.stdout) == (code, ""), (words, done)
            assert text in done.stderr, done.stderr
            assert "hint:" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("iris",), "is not a URL"),
        (("http://h/v2/models/x", "--rate", "fast"), "'fast' is no number"),
        (("http://h/v2/models/x", "--duration", "long"), "not a time"),
        (("http://h/v2/models/x", "--require", "p99 < 5ms"), "only '<=' is understood"),
        (("http://h/v2/models/x", "--find-capacity", "p99"), "not a latency objective"),
        (("http://h/v2/models/x", "--find-capacity", "p99 <= 5ms", "--rate", "5"), "chooses the rates itself"),
        (("http://h/v2/models/x", "--load", "5"), "belong to --find-capacity"),
        (("http://h/v2/models/x", "--header", "x"), "is not NAME:VALUE"),
        (("http://h/v2/models/x", "--plot", "x.gif"), "is not a format that plots are written in"),
        (("http://h/v2/models/x", "--concurrency", "8", "--connections", "2"), "2 connections for 8 users"),
        (("http://h/v2/models/x", "--data", "a.csv", "--body", "b"), "both say what to send"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert "hint:" in done.stderr
