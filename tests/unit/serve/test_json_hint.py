"""A body that is no JSON is answered with the form that its dialect takes."""

import pytest

from aweigh.core.errors import InvalidInput
from aweigh.serve.rows import SEND_ROWS
from aweigh.serve.tensor_json import parse_json


@pytest.mark.parametrize("body", [b"", b"no", b"[NaN"])
def test_the_hint_is_the_dialects(body: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(body, 64, hint=SEND_ROWS)
    assert caught.value.hint == SEND_ROWS
    with pytest.raises(InvalidInput) as caught:
        parse_json(body, 64)
    assert caught.value.hint == "send a JSON object"
