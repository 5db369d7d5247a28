"""What only the REST transport meets: broken connections, pages that are no JSON, null, one connection for many requests."""

import time
from email.utils import formatdate
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aweigh.client import Client
from aweigh.client.transports.rest import retry_after_seconds
from aweigh.core import errors

ONE = {"x": np.array([1.0], dtype=np.float32)}


def test_a_connection_cut_before_the_answer_is_tried_again(rest_echo: Any) -> None:
    rest_echo.fail(drop=True)
    with Client(rest_echo.url, timeout_s=10) as client:
        assert client.infer("echo", ONE)["x"].tolist() == [1]
    assert len(rest_echo.asked) == 2


def test_requests_share_a_connection(rest_echo: Any) -> None:
    with Client(rest_echo.url, timeout_s=10) as client:
        for _ in range(20):
            client.infer("echo", ONE)
    assert rest_echo.connections == 1


@pytest.mark.parametrize(
    ("raw", "expected", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<html", errors.InternalError, "not JSON"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", errors.InternalError, "outputs"),
        (b"HTTP/1.1 302 F\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n", errors.InternalError, "302"),
        (b"HTTP/1.1 413 X\r\ncontent-length: 7\r\n\r\nToo big", errors.TooLarge, "413"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", errors.Unavailable, "broke"),
        (b"SSH-2.0-OpenSSH\r\n", errors.Unavailable, "broke"),
    ],
)
def test_answers_that_are_none(rest_echo: Any, raw: bytes, expected: type[errors.AweighError], words: str) -> None:
    rest_echo.fail(raw=raw)
    with Client(rest_echo.url, retries=0, timeout_s=5) as client, pytest.raises(expected, match=words):
        client.infer("echo", ONE)


def test_the_errors_own_code_and_hint_are_believed(rest_echo: Any) -> None:
    body = b'{"error":"column x","code":"invalid-name","hint":"try y","request_id":"r1"}'
    rest_echo.fail(raw=b"HTTP/1.1 400 X\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    with Client(rest_echo.url, timeout_s=5) as client, pytest.raises(errors.InvalidName) as caught:
        client.predict("echo", [{"a": 1}])
    assert caught.value.hint == "try y"
    assert caught.value.context["request_id"] == "r1"


def test_null_is_nan_in_floats_and_refused_elsewhere(rest_echo: Any) -> None:
    for datatype in (b"FP32", b"INT64", b"BOOL"):
        body = b'{"outputs":[{"name":"y","datatype":"%s","shape":[2],"data":[null,1]}]}' % datatype
        rest_echo.fail(raw=b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    with Client(rest_echo.url, timeout_s=5) as client:
        np.testing.assert_array_equal(client.infer("echo", ONE)["y"], [np.nan, 1])
        for _ in range(2):
            with pytest.raises(errors.InternalError, match="null"):
                client.infer("echo", ONE)


def test_missing_text_is_null_and_non_finite_numbers_are_bare(rest_echo: Any) -> None:
    with Client(rest_echo.url, timeout_s=5) as client:
        client.infer("echo", {"t": np.array(["a", None, float("nan")], dtype=object), "x": np.array([np.nan, np.inf])})
        with pytest.raises(errors.InvalidInput, match="not UTF-8"):
            client.infer("echo", {"t": np.array([b"\xff"], dtype=object)})
        with pytest.raises(errors.InvalidInput, match="JSON"):
            client.infer("echo", {"t": np.array(["\ud800"], dtype=object)})
    (asked,) = rest_echo.asked
    assert asked.body["inputs"][0]["data"] == ["a", None, None]
    assert asked.body["inputs"][1]["data"][1] == np.inf


def test_cells_of_rows_and_frames(rest_echo: Any) -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, np.nan, np.inf],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "when": pd.to_datetime(["2026-01-02", None, "2026-01-03"]),
            "kind": pd.Categorical(["a", None, "b"]),
            "flag": [True, False, True],
        }
    )
    with Client(rest_echo.url, timeout_s=5) as client:
        answered = client.predict("echo", frame, id="mine")
        client.predict("echo", [{"n": np.float32(0.5), "i": np.int64(3), "missing": np.nan}, {"n": pd.NA, "i": None, "missing": pd.NaT}])
        with pytest.raises(errors.InvalidInput, match="JSON"):
            client.predict("echo", [{"n": object()}])
    assert len(answered) == 3
    first, second = rest_echo.asked
    assert first.headers["x-request-id"] == "mine"
    assert first.body["rows"][0] == {"number": 1.5, "count": 1, "when": "2026-01-02T00:00:00", "kind": "a", "flag": True}
    assert first.body["rows"][1] == {"number": None, "count": None, "when": None, "kind": None, "flag": False}
    assert first.body["rows"][2]["number"] == np.inf
    assert second.body["rows"] == [{"n": 0.5, "i": 3, "missing": None}, {"n": None, "i": None, "missing": None}]


def test_a_dripping_server_ends_at_the_deadline(rest_echo: Any) -> None:
    rest_echo.fail(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", drip=True)
    start = time.monotonic()
    with Client(rest_echo.url, retries=0, timeout_s=0.5) as client, pytest.raises(errors.DeadlineExceeded):
        client.infer("echo", ONE)
    assert time.monotonic() - start < 2


def test_a_path_before_the_routes_and_odd_names(rest_echo: Any) -> None:
    with Client(f"{rest_echo.url}/models/echo-app/", timeout_s=5) as client:
        client.infer("a/b c", ONE, version="1/2", outputs=["x"])
    assert rest_echo.asked[0].route == "/models/echo-app/v2/models/a%2Fb%20c/versions/1%2F2/infer"
    assert rest_echo.asked[0].body["outputs"] == [{"name": "x"}]


@pytest.mark.parametrize(("text", "expected"), [("2", 2.0), ("soon", 0.0), ("-1", 0.0), ("nan", 0.0), ("9" * 400, 0.0)])
def test_retry_after(text: str, expected: float) -> None:
    assert retry_after_seconds(text) == expected


def test_retry_after_a_date() -> None:
    assert 50 <= retry_after_seconds(formatdate(time.time() + 60)) <= 60
