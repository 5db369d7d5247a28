"""The child's side of hooks: imports a package's Python and calls it. Runs only inside an isolated process, never in the server."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.calling import call_by_name

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
    return lambda tensors: {name: np.asarray(array) for name, array in call_by_name(function, tensors, f"hook {text}").items()}
