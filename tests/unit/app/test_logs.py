"""Structured logs: one line an event, fields kept, secrets hidden."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from aweigh.app.logs import set_up_logging
from aweigh.core.settings import Settings


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger("aweigh").setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def _log(**settings: str) -> tuple[io.StringIO, logging.Logger]:
    stream = io.StringIO()
    set_up_logging(Settings(**settings), stream)  # type: ignore[arg-type]
    return stream, logging.getLogger("aweigh.serve")


def test_json_lines_carry_the_fields() -> None:
    stream, log = _log()
    log.info("answered", extra={"model": "fraud", "api_key": "s3cret", "ms": 1.5})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "aweigh.serve", "event": "answered", "model": "fraud", "api_key": "***", "ms": 1.5}


def test_text_is_one_line_whatever_the_event_holds() -> None:
    stream, log = _log(log_format="text")
    log.warning("first\nsecond", extra={"path": "a\nb"})
    assert stream.getvalue().count("\n") == 1
    assert "warning aweigh.serve: first\\nsecond path=a\\nb" in stream.getvalue()


def test_a_traceback_is_kept() -> None:
    stream, log = _log()
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("failed")
    assert "ValueError: boom" in json.loads(stream.getvalue())["traceback"]


def test_levels_are_those_of_the_setting_and_strangers_speak_from_warning_on() -> None:
    stream, log = _log(log_level="debug")
    log.debug("own")
    logging.getLogger("stranger").info("silent")
    logging.getLogger("stranger").warning("heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["own", "heard"]
