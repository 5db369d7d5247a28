"""Runs variants: one file per runtime library. `load_session` is what the engine, the proof and packing call."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import cast

from aweigh.core import plugins
from aweigh.core.package import Variant
from aweigh.core.protocols import Runtime, Session
from aweigh.core.signature import Signature

__all__ = ["load_session"]


def load_session(variant: Variant, signature: Signature, path: Callable[[str], Path], *, session_threads: int = 1) -> Session:
    """Load a variant with its runtime; `path` maps a package path to a file. Raises AweighError, MissingLibrary naming the extra among them.

    `session_threads` (threads inside one call) reaches runtimes whose constructor has a parameter of that name.
    """
    make = cast("Callable[..., Runtime]", plugins.load("runtime", variant.runtime))
    takes_threads = "session_threads" in inspect.signature(make).parameters
    runtime = make(session_threads=session_threads) if takes_threads else make()
    return runtime.load(variant, signature, path)
