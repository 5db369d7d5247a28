"""The child's side of hooks: imports a package's Python and calls it. Runs only inside an isolated process, never in the server."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.tensors import Tensor, Tensors

Hook = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Where the hooks' files lie, and which functions to call ("module:function" or "")."""

    folder: str
    pre: str
    post: str


def open_hooks(opening: Opening) -> Handler:
    """Import both hooks and return their handler. Raises InvalidInput."""
    sys.path.insert(0, opening.folder)
    hooks = {what: load_hook(text, what) for what, text in (("pre", opening.pre), ("post", opening.post)) if text}
    return lambda header, tensors: (header, hooks[header["hook"]](tensors))


def load_hook(text: str, what: str) -> Hook:
    """The function that `module:function` names, checked at each call to give a dict of arrays. Raises InvalidInput."""
    module, colon, name = text.partition(":")
    if not colon or not module or not name.isidentifier():
        raise InvalidInput(f"--{what} {text!r} is not of the form module:function", hint=f"for example --{what} features:clean")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except AweighError:
        raise
    except Exception as error:  # boundary: a person's module may raise anything when imported
        raise InvalidInput(
            f"--{what}: module '{module}' cannot be imported: {type(error).__name__}: {error}", hint="run from the folder that holds it"
        ) from error
    if not callable(function):
        raise InvalidInput(f"--{what}: module '{module}' has no function '{name}'", hint="check the name")
    return lambda tensors: _called(function, tensors, text)


def _called(function: Callable[..., object], tensors: Mapping[str, Tensor], text: str) -> dict[str, Tensor]:
    try:
        given = function(dict(tensors))
    except (AweighError, MemoryError, RecursionError):  # the last two are no fault of the request
        raise
    except Exception as error:  # boundary: a person's function may raise anything
        raise InvalidInput(f"hook {text} failed: {type(error).__name__}: {error}", hint="it is given a dict of numpy arrays") from error
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f"hook {text} returned {type(given).__name__}", hint="return a dict of name to numpy array")
    return {name: np.asarray(array) for name, array in given.items()}
