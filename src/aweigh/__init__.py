"""aweigh takes a trained model file and puts it into production, with proof at every step.

The names below load on first use (PEP 562): importing aweigh imports nothing heavy and does nothing.
"""

import importlib

TYPE_CHECKING = False  # type checkers know the name; importing typing would take as long as starting Python
if TYPE_CHECKING:
    from aweigh.app.python import Model, asgi, load
    from aweigh.app.python_evaluate import diff, evaluate
    from aweigh.app.python_optimize import optimize
    from aweigh.app.python_pack import pack
    from aweigh.app.python_server import Server
    from aweigh.client import Client
    from aweigh.core.errors import AweighError

__version__ = "0.1.0"

_EXPORTS = {
    "AweighError": "aweigh.core.errors",
    "Client": "aweigh.client",
    "Model": "aweigh.app.python",
    "Server": "aweigh.app.python_server",
    "asgi": "aweigh.app.python",
    "diff": "aweigh.app.python_evaluate",
    "evaluate": "aweigh.app.python_evaluate",
    "load": "aweigh.app.python",
    "optimize": "aweigh.app.python_optimize",
    "pack": "aweigh.app.python_pack",
}
__all__ = [
    "AweighError",
    "Client",
    "Model",
    "Server",
    "__version__",
    "asgi",
    "diff",
    "evaluate",
    "load",
    "optimize",
    "pack",
]  # PEP 562 provides them


def __getattr__(name: str) -> object:
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'aweigh' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
