"""What only the gRPC transport meets: bytes that are no text, BF16, rows without a row form."""

from typing import Any

import numpy as np
import pytest

from aweigh.client import Client
from aweigh.core import errors

ml_dtypes = pytest.importorskip("ml_dtypes")  # comes with onnx


@pytest.fixture
def client(grpc_echo: Any) -> Client:
    return Client(grpc_echo.url, timeout_s=5)


def test_bytes_that_are_not_text_stay_bytes(client: Client) -> None:
    with client:
        assert client.infer("echo", {"x": np.array([b"\xff\0", "é"], dtype=object)})["x"].tolist() == [b"\xff\0", "é"]


def test_missing_text_is_refused(client: Client, grpc_echo: Any) -> None:
    with client:
        with pytest.raises(errors.InvalidInput, match="input 'x'"):
            client.infer("echo", {"x": np.array(["a", None], dtype=object)})
        with pytest.raises(errors.InvalidInput, match="input 'city'"):
            client.predict("echo", [{"age": 1, "city": "a"}, {"age": None, "city": None}])
    assert [asked.route for asked in grpc_echo.asked] == ["ModelMetadata"]


def test_bfloat16(client: Client) -> None:
    with client:
        got = client.infer("echo", {"x": np.array([[1.5, np.nan]], dtype=ml_dtypes.bfloat16)})["x"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [[1.5, np.nan]])


def test_version_and_outputs_are_sent(client: Client, grpc_echo: Any) -> None:
    with client:
        assert client.infer("echo", {"x": np.zeros(1)}, version=4, outputs=["x"]).model_version == "4"
    assert [output.name for output in grpc_echo.asked[0].body.outputs] == ["x"]


def test_a_missing_number_is_nan(client: Client) -> None:
    with client:
        (answer,) = client.predict("echo", [{"age": None, "city": "a"}])
    assert np.isnan(answer["age"])  # type: ignore[call-overload]
