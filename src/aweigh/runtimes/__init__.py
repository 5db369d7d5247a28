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


def load_session(
    variant: Variant, signature: Signature, path: Callable[[str], Path], *, session_threads: int = 1, in_child: bool = False
) -> Session:
    """Load a variant with its runtime; `path` maps a package path to a file. Raises AweighError, MissingLibrary naming the extra among them.

    `session_threads` (threads inside one call) and `in_child` (this process is an isolated child: no further one is needed) reach runtimes whose
    constructor has a parameter of that name.
    """
    make = cast("Callable[..., Runtime]", plugins.load("runtime", variant.runtime))
    known = inspect.signature(make).parameters
    options = {"session_threads": session_threads, "in_child": in_child}
    runtime = make(**{name: value for name, value in options.items() if name in known})
    return runtime.load(variant, signature, path)
