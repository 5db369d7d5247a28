"""Structured logging: one line per event on stderr, JSON or text. Set up by the command line alone; importing aweigh never does.

Fields are whatever a logger passes as `extra={...}`; a field whose name sounds secret is printed as ***.
"""

import datetime as dt
import json
import logging
import re
import sys
import traceback
from typing import Final, TextIO

from aweigh.core.settings import Settings

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET: Final = re.compile(r"key|token|secret|password|authorization", re.IGNORECASE)
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
