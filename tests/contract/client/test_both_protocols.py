"""What `Client` promises whichever protocol it speaks."""

import concurrent.futures
import socket
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aweigh.client import Client
from aweigh.core import errors
from aweigh.core.tensors import DTYPES, Datatype

ONE = {"x": np.array([1.0, 2.0], dtype=np.float32)}


@pytest.mark.parametrize("datatype", [name for name in Datatype if name not in {Datatype.BYTES, Datatype.BF16}])
def test_every_number_comes_back_as_it_went(client: Client, datatype: Datatype) -> None:
    dtype = DTYPES[datatype]
    if dtype.kind == "b":
        sent = np.array([[True, False]])
    elif dtype.kind in "iu":
        sent = np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype=dtype)
    else:
        sent = np.array([[np.finfo(dtype).max, np.finfo(dtype).tiny], [0.1, -0.0]], dtype=dtype)
    got = client.infer("echo", {"x": sent})["x"]
    assert got.dtype == sent.dtype
    np.testing.assert_array_equal(got, sent)
    assert np.array_equal(np.signbit(got), np.signbit(sent)) if dtype.kind == "f" else True


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinities_survive(client: Client, dtype: type) -> None:
    sent = np.array([np.nan, np.inf, -np.inf, 1.5], dtype=dtype)
    np.testing.assert_array_equal(client.infer("echo", {"x": sent})["x"], sent)


def test_text_survives(client: Client) -> None:
    sent = np.array([["", "plain"], ["nul\0nul", "日本 🚢"]], dtype=object)
    got = client.infer("echo", {"x": sent, "utf8": np.array([b"bytes"], dtype=object), "fixed": np.array(["a", "bc"])})
    assert got["x"].tolist() == sent.tolist()
    assert got["utf8"].tolist() == ["bytes"]
    assert got["fixed"].tolist() == ["a", "bc"]


@pytest.mark.parametrize("shape", [(), (0, 4), (1,), (2, 1, 3)])
def test_shapes_survive(client: Client, shape: tuple[int, ...]) -> None:
    sent = np.full(shape, 7, dtype=np.int32)
    assert client.infer("echo", {"x": sent})["x"].shape == shape


def test_layout_and_byte_order_do_not_matter(client: Client) -> None:
    sent = np.arange(12, dtype=">f4").reshape(3, 4).T[::2]
    np.testing.assert_array_equal(client.infer("echo", {"x": sent})["x"], sent)


def test_big_arrays(client: Client) -> None:
    sent = np.random.default_rng(1).standard_normal((1, 3, 512, 512)).astype(np.float32)
    np.testing.assert_array_equal(client.infer("echo", {"x": sent})["x"], sent)


def test_the_answer_is_a_mapping_that_knows_its_model(client: Client) -> None:
    answer = client.infer("echo", {"b": ONE["x"], "a": ONE["x"]}, id="request-7")
    assert list(answer) == ["b", "a"]
    assert len(answer) == 2
    assert (answer.id, answer.model_name, answer.model_version) == ("request-7", "echo", "1")


def test_metadata(client: Client) -> None:
    assert client.server().name == "echo-server"
    found = client.metadata("echo")
    assert found.inputs[1].name == "city"
    assert found.inputs[1].shape == (-1, 1)
    assert client.metadata("echo", version=3).versions == ("3",)
    with pytest.raises(errors.ModelNotFound, match="no such model"):
        client.metadata("other")


def test_health(client: Client) -> None:
    assert client.live()
    assert client.ready()
    assert client.ready("echo")
    assert not client.ready("other")
    client.wait_ready("echo")
    with pytest.raises(errors.NotReady, match="'other'"):
        client.wait_ready("other", timeout_s=0.1)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_never_answers_is_not_ready_and_is_waited_for_no_longer_than_asked(scheme: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3) as client,
    ):
        assert not client.live()
        assert not client.ready("echo")
    with socket.create_server(("127.0.0.1", 0)) as silent, Client(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}") as client:
        began = time.monotonic()
        for limit in (0.3, 0.0):
            with pytest.raises(errors.NotReady, match="was not ready within"):
                client.wait_ready(timeout_s=limit)
        assert time.monotonic() - began < 10


def test_nobody_is_there(echo: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        scheme = echo.url.split(":")[0]
        with Client(f"{scheme}://127.0.0.1:{taken.getsockname()[1]}", retries=1, timeout_s=5) as client:
            assert not client.live()
            assert not client.ready()
            with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1") as caught:
                client.infer("echo", ONE)
            assert "running" in caught.value.hint


@pytest.mark.parametrize(("status", "code"), [(503, "UNAVAILABLE"), (429, "RESOURCE_EXHAUSTED")])
def test_refused_work_is_repeated(client: Client, echo: Any, status: int, code: str) -> None:
    for _ in range(2):
        echo.fail(status=status, code=code)
    assert client.infer("echo", ONE)["x"].tolist() == [1, 2]
    assert len(echo.asked) == 3


def test_retries_end(client: Client, echo: Any) -> None:
    for n in range(9):
        echo.fail(message=f"no {n}")
    with pytest.raises(errors.Unavailable, match="no 2"):
        client.infer("echo", ONE)
    assert len(echo.asked) == 3


def test_the_servers_wish_is_honoured(client: Client, echo: Any) -> None:
    echo.fail(retry_after="1", status=429, code="RESOURCE_EXHAUSTED")
    client.infer("echo", ONE)
    assert echo.asked[1].at - echo.asked[0].at >= 1


def test_a_wish_beyond_the_deadline_is_not_waited_for(client: Client, echo: Any) -> None:
    echo.fail(retry_after="60")
    start = time.monotonic()
    with pytest.raises(errors.Unavailable):
        client.infer("echo", ONE, timeout_s=2)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "INVALID_ARGUMENT", errors.InvalidInput),
        (401, "UNAUTHENTICATED", errors.Unauthenticated),
        (403, "PERMISSION_DENIED", errors.Denied),
        (404, "NOT_FOUND", errors.ModelNotFound),
        (409, "ABORTED", errors.Conflict),
        (499, "CANCELLED", errors.Cancelled),
        (500, "INTERNAL", errors.InternalError),
        (501, "UNIMPLEMENTED", errors.Unsupported),
        (504, "DEADLINE_EXCEEDED", errors.DeadlineExceeded),
    ],
)
def test_errors_keep_kind_and_words_and_are_not_repeated(
    client: Client, echo: Any, status: int, code: str, expected: type[errors.AweighError]
) -> None:
    echo.fail(status=status, code=code, message="the server's own words")
    with pytest.raises(expected, match="the server's own words"):
        client.infer("echo", ONE)
    assert len(echo.asked) == 1


def test_a_stalled_server_ends_at_the_deadline(client: Client, echo: Any) -> None:
    echo.fail(stall=True)
    start = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        client.infer("echo", ONE, timeout_s=0.3)
    assert 0.25 < time.monotonic() - start < 2


def test_the_deadline_and_the_key_travel(echo: Any) -> None:
    with Client(echo.url, api_key="secret", timeout_s=7) as client:
        client.infer("echo", ONE)
        client.infer("echo", ONE, timeout_s=3)
    assert 6 < echo.asked[0].deadline_s < 7.1  # gRPC rounds up
    assert 2 < echo.asked[1].deadline_s < 3.1
    assert echo.asked[0].headers["authorization"] == "Bearer secret"


def test_threads_share_a_client(client: Client, echo: Any) -> None:
    def ask(n: int) -> bool:
        return client.infer("echo", {"x": np.full((n % 7, 3), n)}, id=str(n)).id == str(n) and bool(
            (client.infer("echo", {"x": np.full(5, n)})["x"] == n).all()
        )

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(100)))


def test_rows_are_answered_in_their_form(client: Client) -> None:
    rows = [{"age": 30.0, "city": "Bergen"}, {"age": 40.5, "city": "Kyōto"}]
    answers = client.predict("echo", rows)
    assert [(row["age"], row["city"]) for row in answers] == [(30.0, "Bergen"), (40.5, "Kyōto")]
    assert len(client.predict("echo", rows, version=3, id="mine")) == 2
    frame = pd.DataFrame(rows, index=["a", "b"])
    answered = client.predict("echo", frame)
    assert isinstance(answered, pd.DataFrame)
    assert list(answered.index) == ["a", "b"]
    assert answered["city"].tolist() == ["Bergen", "Kyōto"]


def test_errors_in_arrays_name_the_input(client: Client, echo: Any) -> None:
    with pytest.raises(errors.InvalidInput, match="input 'when'"):
        client.infer("echo", {"when": np.array(["2020-01-01"], dtype="datetime64[D]")})
    with pytest.raises(errors.InvalidInput, match="input 'mixed': element 1"):
        client.infer("echo", {"mixed": np.array(["a", 3], dtype=object)})
    with pytest.raises(errors.InvalidInput, match="input 'ragged'"):
        client.infer("echo", {"ragged": [[1], [2, 3]]})  # type: ignore[dict-item]
    with pytest.raises(errors.InvalidInput, match="mapping from input name"):
        client.infer("echo", ONE["x"])  # type: ignore[arg-type]
    assert not echo.asked
