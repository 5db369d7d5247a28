"""How a person's function is called: given a dict of arrays, it gives a dict of arrays, or a clear error."""

from collections.abc import Callable, Mapping
from typing import Any

from aweigh.core.errors import AweighError, InvalidInput
from aweigh.core.tensors import Tensor


def call_by_name(function: Callable[..., object], tensors: Mapping[str, Tensor], what: str) -> dict[str, Any]:
    """What it gives, by name, not yet arrays. `what` names it: 'function features.py:clean'. Raises InvalidInput for whatever it raises."""
    try:
        given = function(dict(tensors))
    except (AweighError, MemoryError, RecursionError):  # the last two are no fault of the request
        raise
    except Exception as error:  # boundary: a person's function may raise anything
        raise InvalidInput(f"{what} failed: {type(error).__name__}: {error}", hint="it is given a dict of numpy arrays") from error
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise InvalidInput(f"{what} returned {type(given).__name__}", hint="return a dict of name to numpy array")
    return given
