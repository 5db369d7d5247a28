"""Capped, killable children: where files are first parsed, sources run and untrusted sessions live. `call` is one-shot, a `Worker` stays; `Lane` is its inside.

The names load on first use: every child imports this package on its way to `channel`, and must not pay for the parent's side (a fifth of a second).
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aweigh.isolate.backoff import Backoff
    from aweigh.isolate.channel import Caps
    from aweigh.isolate.environments import Environments
    from aweigh.isolate.here import Here
    from aweigh.isolate.lane import Lane
    from aweigh.isolate.oneshot import Report, call, call_reporting
    from aweigh.isolate.process import Home
    from aweigh.isolate.worker import Worker

_HOME: Final = {
    "Backoff": "backoff",
    "Caps": "channel",
    "Environments": "environments",
    "Here": "here",
    "Home": "process",
    "Lane": "lane",
    "Report": "oneshot",
    "Worker": "worker",
    "call": "oneshot",
    "call_reporting": "oneshot",
}
__all__ = ["Backoff", "Caps", "Environments", "Here", "Home", "Lane", "Report", "Worker", "call", "call_reporting"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
