"""Structured logging: one line per event on stderr, JSON or text. Set up by the command line alone; importing aweigh never does.

Fields are whatever a logger passes as `extra={...}`; a field whose name sounds secret is printed as ***.
"""

import datetime as dt
import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final, TextIO

from aweigh.core.errors import Denied, InvalidInput, Unsupported
from aweigh.core.settings import Settings

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET: Final = re.compile(r"key|token|secret|password|authorization", re.IGNORECASE)
_LOG: Final = logging.getLogger("aweigh.server")
_SWITCHES: Final = {
    "log_verbose_level": logging.DEBUG, "log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR,
}  # fmt: skip
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send the events of `aweigh` loggers to `stream` (stderr); other libraries are heard from `warning` on."""
    target = sys.stderr if stream is None else stream
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("aweigh").setLevel(_LEVELS[settings.log_level])
    logging.captureWarnings(True)  # noqa: FBT003  # the standard library's own signature


class LogControl(logging.Filter):
    """What a server logs, as Triton's clients read and change it: each level is a switch of its own. Changes nothing until asked to.

    `log_verbose_level` knows 0 and more than 0, which lets debug events through. Where events go and in what form is not changed by request.
    """

    def __init__(self, settings: Settings, *, allowed: bool) -> None:
        super().__init__()
        self._allowed = allowed
        self._first = _LEVELS[settings.log_level]
        self._values: dict[str, bool | int] = {
            "log_info": self._first <= logging.INFO,
            "log_warning": self._first <= logging.WARNING,
            "log_error": True,
            "log_verbose_level": int(self._first <= logging.DEBUG),
        }

    def read(self) -> dict[str, bool | int | str]:
        """Every log setting, by Triton's names."""
        return {"log_file": "", **self._values, "log_format": _form()}

    def change(self, values: Mapping[str, object]) -> None:
        """Set what is named. Raises InvalidInput, Unsupported, Denied, having changed nothing."""
        if values and not self._allowed:
            raise Denied("changing log settings is not allowed", hint="set model_control, or serve with an api_key_file")
        checked: dict[str, Any] = {name: _checked(name, value) for name, value in values.items()}
        switches = {name: value for name, value in checked.items() if name in self._values}
        if switches:
            _LOG.warning("log settings changed", extra=switches)  # first, so that switching off leaves a trace
            self._values |= switches
            self._apply()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != "aweigh":
            return True
        if record.levelno >= logging.ERROR:
            return bool(self._values["log_error"])
        if record.levelno >= logging.WARNING:
            return bool(self._values["log_warning"])
        return bool(self._values["log_info" if record.levelno >= logging.INFO else "log_verbose_level"])

    def close(self) -> None:
        """Log again as the settings say."""
        for handler in logging.getLogger().handlers:
            handler.removeFilter(self)
        logging.getLogger("aweigh").setLevel(self._first)

    def _apply(self) -> None:
        for handler in logging.getLogger().handlers:
            handler.addFilter(self)
        lowest = [level for name, level in _SWITCHES.items() if self._values[name]]
        logging.getLogger("aweigh").setLevel(min(lowest, default=logging.CRITICAL + 1))


def _checked(name: str, value: object) -> object:
    """The value of a log setting. Raises InvalidInput, and Unsupported for what is fixed while the server runs."""
    if name == "log_file":
        raise Unsupported("log file location can not be updated through network protocol", hint="events go to the server's stderr")
    if name == "log_format":
        if value not in {"default", "ISO8601"}:
            raise InvalidInput(f"invalid argument for log_format, got: {str(value)[:40]}")
        if value != _form():
            raise Unsupported("log format can not be updated through network protocol", hint="the setting log_format says it at the start")
    elif name == "log_verbose_level":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise InvalidInput("expect int32 for 'log_verbose_level'", hint="0, or 1 for debug events")
    elif name not in _SWITCHES:
        raise InvalidInput(f"unknown log setting '{name[:40]}'", hint=f"there are: {', '.join(_SWITCHES)}")
    elif not isinstance(value, bool):
        raise InvalidInput(f"expect boolean for '{name}'")
    return value


def _form() -> str:
    """How Triton would call the form of the events: those in JSON have ISO 8601 times."""
    as_json = any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)
    return "ISO8601" if as_json else "default"


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "event", …fields}` on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
        return json.dumps(line | _fields(record), default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """`12:00:00.123 info aweigh.serve: event name=value …`, a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        trace = fields.pop("traceback", "")
        shown = "".join(f" {name}={value}" for name, value in fields.items())
        event = record.getMessage().replace("\n", "\\n")
        line = f"{_time(record)[11:23]} {record.levelname.lower()} {record.name}: {event}{shown}".replace("\n", "\\n")
        return f"{line}\n{trace}" if trace else line


def _time(record: logging.LogRecord) -> str:
    return dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {name: "***" if _SECRET.search(name) else value for name, value in vars(record).items() if name not in _OWN}
    if record.exc_info and record.exc_info[0] is not None:
        fields["traceback"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return fields
