"""Structured logs: one line an event, fields kept, secrets hidden."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from aweigh.app.logs import LogControl, set_up_logging
from aweigh.core.errors import Denied, InvalidInput, Unsupported
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


def _control(*, allowed: bool = True, **settings: str) -> tuple[LogControl, io.StringIO, logging.Logger]:
    stream, log = _log(**settings)
    return LogControl(Settings(**settings), allowed=allowed), stream, log  # type: ignore[arg-type]


def _written(stream: io.StringIO, log: logging.Logger) -> list[str]:
    stream.seek(0)
    stream.truncate()
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log.log(level, "said")
    return [json.loads(line)["level"] for line in stream.getvalue().splitlines()]


def test_log_levels_are_switches_of_their_own() -> None:
    control, stream, log = _control()
    assert control.read() == {
        "log_file": "", "log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0, "log_format": "ISO8601",
    }  # fmt: skip
    assert _written(stream, log) == ["info", "warning", "error"]
    control.change({"log_verbose_level": 2, "log_warning": False})
    assert _written(stream, log) == ["debug", "info", "error"]
    assert (control.read()["log_verbose_level"], control.read()["log_warning"]) == (2, False)
    control.change({"log_verbose_level": 0, "log_info": False, "log_error": False})
    assert _written(stream, log) == []
    logging.getLogger("elsewhere").warning("others are heard")
    assert "others are heard" in stream.getvalue()
    control.change({"log_warning": True})
    assert _written(stream, log) == ["warning"]
    control.close()
    assert _written(stream, log) == ["info", "warning", "error"]


def test_a_change_of_log_levels_is_logged() -> None:
    control, stream, _ = _control()
    control.change({"log_error": False, "log_warning": False, "log_info": False})
    assert json.loads(stream.getvalue())["event"] == "log settings changed"
    control.close()


def test_the_first_levels_are_those_of_the_settings() -> None:
    assert _control(log_level="debug")[0].read()["log_verbose_level"] == 1
    found = _control(log_level="error", log_format="text")[0].read()
    assert (found["log_info"], found["log_warning"], found["log_error"], found["log_format"]) == (False, False, True, "default")


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"log_file": "/tmp/x"}, Unsupported, "log file location can not be updated through network protocol"),
        ({"log_format": "default"}, Unsupported, "log format can not be updated"), ({"log_format": "xml"}, InvalidInput, "invalid argument for log_format, got: xml"),
        ({"log_info": 1}, InvalidInput, "expect boolean for 'log_info'"), ({"log_error": "no"}, InvalidInput, "expect boolean for 'log_error'"),
        ({"log_verbose_level": True}, InvalidInput, "expect int32 for 'log_verbose_level'"),
        ({"log_verbose_level": -1}, InvalidInput, "expect int32 for 'log_verbose_level'"),
        ({"log_verbose_level": 2**31}, InvalidInput, "expect int32 for 'log_verbose_level'"), ({"log_everything": True}, InvalidInput, "unknown log setting 'log_everything'"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_changes_nothing(values: dict[str, object], error: type[Exception], text: str) -> None:
    control, _, _ = _control()
    before = control.read()
    with pytest.raises(error, match=text):
        control.change({"log_info": False, **values})
    assert control.read() == before


def test_only_who_may_change_the_server_changes_its_logs() -> None:
    control, _, _ = _control(allowed=False)
    control.change({})
    assert control.read()["log_info"] is True
    with pytest.raises(Denied):
        control.change({"log_info": False})
