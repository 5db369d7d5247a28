"""Protobuf's text format: what is written is read back alike, here and by protobuf itself; no text becomes structure."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from aweigh.core.protobuf_text import Word, protobuf_text, read_protobuf_text

HOSTILE = ['x"\nbackend: "python', "a\\", '"}', "\u2028", "é", "\x00\x01", "\t\r\n", "'", "{{7*7}}", "# no comment", "\U0001f600", "\\102"]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_come_back_as_they_were_here_and_by_protobuf_itself(text: str) -> None:
    written = protobuf_text({"name": text, "input": [{"name": text, "data_type": Word("TYPE_FP32"), "dims": [-1, 4]}]}, said=[text])
    config = text_format.Parse(written, model_config_pb2.ModelConfig())
    assert config.name == text
    assert config.input[0].name == text
    assert list(config.input[0].dims) == [-1, 4]
    fields = read_protobuf_text(written.decode(), place="made")
    assert fields["name"] == [text]
    assert fields["input"] == [{"name": [text], "data_type": ["TYPE_FP32"], "dims": ["-1", "4"]}]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_as_it_was_written(text: str) -> None:
    assert read_protobuf_text(protobuf_text({"name": text}).decode(), place="made") == {"name": [text]}


def test_numbers_and_truth() -> None:
    written = protobuf_text(
        {"name": "m", "max_batch_size": 8, "response_cache": {"enable": True}, "optimization": {"graph": {"level": -1}}}
    )
    config = text_format.Parse(written, model_config_pb2.ModelConfig())
    assert config.max_batch_size == 8
    assert config.response_cache.enable
    assert config.optimization.graph.level == -1
    assert protobuf_text({"a": 0.5, "b": float("inf"), "c": False}) == b"a: 0.5\nb: inf\nc: false\n"


@pytest.mark.parametrize("fields", [{"a b": 1}, {"a": Word("x y")}, {"a\n": 1}, {"a": None}])
def test_what_is_no_name_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no identifier|no text"):
        protobuf_text(fields)  # type: ignore[arg-type]


def test_octal_of_other_writers_is_read() -> None:
    assert read_protobuf_text(r'name: "caf\303\251 \x41"', place="p") == {"name": ["café A"]}
