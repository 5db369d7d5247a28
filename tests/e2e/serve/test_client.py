"""`aweigh.Client` against a real server, over both protocols."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.serving.served import Served

import aweigh
from aweigh.core.errors import DeadlineExceeded, InvalidInput, ModelNotFound, Unavailable


@pytest.fixture(params=["rest", "grpc"])
def client(request: pytest.FixtureRequest, server: Served) -> Iterator[aweigh.Client]:
    with aweigh.Client(server.url, protocol=request.param) as made:
        yield made


def test_arrays(client: aweigh.Client, rows: np.ndarray, expected: np.ndarray) -> None:
    answer = client.infer("linear", {"X": rows})
    assert np.allclose(answer["scores"], expected, atol=1e-5)
    assert answer["best"].tolist() == expected.argmax(axis=1).tolist()
    assert client.infer("linear", {"X": rows[:0]})["scores"].shape == (0, 3)
    assert client.ready("linear")
    assert not client.ready("none")
    assert client.metadata("linear").inputs[0].name == "X"


def test_values_that_are_not_finite_come_back_as_they_are(client: aweigh.Client) -> None:
    rows = np.array([[np.nan, np.inf, -np.inf, 0]], dtype=np.float32)
    assert np.array_equal(client.infer("dear", {"X": rows})["Y"], rows, equal_nan=True)


def test_frames(client: aweigh.Client) -> None:
    answer = client.predict("words", [{"text": "a"}, {"text": "ä\0"}])
    assert [row["same"] for row in answer] == ["a", "ä\0"]


def test_errors_are_the_servers(client: aweigh.Client, rows: np.ndarray) -> None:
    with pytest.raises(ModelNotFound, match="Request for unknown model: 'none' is not found"):
        client.infer("none", {"X": rows})
    with pytest.raises(InvalidInput, match="unexpected shape for input 'X'"):
        client.infer("linear", {"X": rows[:, :2]})


def test_many_at_once(client: aweigh.Client) -> None:
    def ask(at: int) -> float:
        rows = np.full((1, 4), at, dtype=np.float32)
        return float(client.infer(("linear", "dear")[at % 7 == 0], {"X": rows})[("scores", "Y")[at % 7 == 0]][0, 1])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(100)))
    assert found == [at * (1.0 if at % 7 == 0 else 5.0) for at in range(100)]


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_deadline_is_kept(server: Served, protocol: str, rows: np.ndarray) -> None:
    with (
        aweigh.Client(server.url, protocol=protocol, timeout_s=0.0005, retries=0) as client,
        pytest.raises((DeadlineExceeded, Unavailable)),
    ):  # type: ignore[arg-type]
        client.infer("dear", {"X": rows})
