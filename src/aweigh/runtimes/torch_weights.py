"""Weights put into the module that a person's class makes: names, prefixes and sizes must fit. Needs torch. Called by packing and by passes that train.

The class is the person's own code, named as `module:factory`.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Final

import torch

from aweigh.core.errors import AweighError, InvalidInput, Unsupported

_SAID: Final = 300
_SHOWN: Final = 8
_WRAPPED: Final = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
_PREFIXES: Final = ("module.", "_orig_mod.", "model.")


def filled(found: Mapping[str, Any], factory: str) -> tuple[Any, list[str]]:
    """The module that the factory makes, with the weights that a file held, and what was changed for that. Raises InvalidInput that names what does not fit."""
    weights, notes = _tensors(found)
    if not factory:
        shown = ", ".join(list(weights)[:4])
        raise Unsupported(
            f"the file holds {len(weights)} tensors ({shown}, …) and not what computes with them",
            hint="give --class module:factory, a class or function of yours that makes the module; or save it with torch.export.save",
        )
    module = made_by(factory)
    weights, stripped = _stripped(weights, module)
    try:
        missing, unexpected = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InvalidInput(
            f"the weights do not fit what {factory} makes: {str(error).strip()[:_SAID]}", hint="make it with the sizes it was trained with"
        ) from error
    if missing or unexpected:
        raise InvalidInput(
            f"the weights are not those of what {factory} makes: missing {', '.join(missing[:_SHOWN]) or 'none'}; unexpected {', '.join(unexpected[:_SHOWN]) or 'none'}",
            hint="name the class that the weights were saved from",
        )
    return module, [*notes, *stripped]


def _tensors(found: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    if all(isinstance(value, torch.Tensor) for value in found.values()):
        return found, []
    for key in _WRAPPED:
        inner = found.get(key)
        if isinstance(inner, Mapping) and inner and all(isinstance(value, torch.Tensor) for value in inner.values()):
            return inner, [f"weights taken from '{key}' of the checkpoint"]
    raise Unsupported(
        f"the file holds {', '.join(map(str, list(found)[:_SHOWN]))}: no weights of one module", hint="save module.state_dict()"
    )


def _stripped(weights: Mapping[str, Any], module: Any) -> tuple[Mapping[str, Any], list[str]]:
    """Names without the prefix that a wrapper gave them, where the module knows none of it."""
    own = set(module.state_dict())
    for prefix in _PREFIXES:
        if not own & set(weights) and all(name.startswith(prefix) for name in weights):
            return {name.removeprefix(prefix): value for name, value in weights.items()}, [f"'{prefix}' taken off the names of the weights"]
    return weights, []


def made_by(factory: str, option: str = "--class") -> Any:
    """What `module:factory` makes when it is called with nothing."""
    name, colon, attribute = factory.partition(":")
    if not colon or not name or not attribute.isidentifier():
        raise InvalidInput(f"{option} {factory!r} is not of the form module:factory", hint=f"for example {option} models:Classifier")
    try:
        module = getattr(importlib.import_module(name), attribute)()
    except AweighError:
        raise
    except Exception as error:  # boundary: a person's code may raise anything
        raise InvalidInput(
            f"{option} {factory} cannot be made: {type(error).__name__}: {str(error)[:_SAID]}",
            hint="run from the folder that holds the module; the factory is called with nothing: write a function that gives the class what it takes",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise InvalidInput(
            f"{option} {factory} makes a {type(module).__name__}, no torch.nn.Module", hint="name a class or function that makes one"
        )
    return module
