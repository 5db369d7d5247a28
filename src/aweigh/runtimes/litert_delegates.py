"""Delegates of LiteRT by name: each loads the shared library that drives one kind of accelerator. Found through `core/plugins.py` (kind "delegate")."""

from typing import Any, Final

from ai_edge_litert.interpreter import load_delegate

from aweigh.core.errors import MissingLibrary

_EDGE_TPU: Final = "libedgetpu.so.1"


def edgetpu() -> Any:
    """Coral's Edge TPU: for files that its compiler made. Raises MissingLibrary without its driver."""
    return _loaded("edgetpu", _EDGE_TPU)


def _loaded(name: str, library: str) -> Any:
    try:
        return load_delegate(library)
    except (OSError, ValueError, RuntimeError) as error:
        raise MissingLibrary(
            f"the delegate '{name}' needs {library}, which cannot be loaded: {error}",
            hint="install the accelerator's driver on this machine and connect the device",
            libraries=library,
        ) from error
