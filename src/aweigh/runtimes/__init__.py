"""Runs variants: one file per runtime library. `load_session` is what the engine, the proof and packing call.

It loads on first use: children import this package on their way to one runtime, and need none of the parent's side.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aweigh.runtimes.load import load_session

__all__ = ["load_session"]


def __getattr__(name: str) -> object:
    if name != "load_session":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.load").load_session
