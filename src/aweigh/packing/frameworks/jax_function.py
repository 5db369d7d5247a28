"""What a person's JAX model is as a function of its inputs alone: a Flax module, a function with its parameters, a partial. Called by `jax.py`."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import flax.linen
import flax.nnx
import jax

from aweigh.core.errors import InvalidInput

_INFERENCE: Final = {"train": False, "training": False, "is_training": False, "deterministic": True, "use_running_average": True}
"""Switches between training and answering, as modules name them, and where they stand when a model answers."""
_MODES: Final = ("deterministic", "use_running_average")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """A model as a function of its inputs. `names` are theirs, empty where the function does not tell."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    source_class: str
    notes: tuple[str, ...] = ()
    check: Callable[[Sequence[Any]], None] | None = None
    """Raises InvalidInput where the parameters are not those that inputs of such shapes need."""


def is_model(model: object) -> bool:
    """Whether it is one of the forms that `answering` takes."""
    if isinstance(model, tuple):
        return len(model) == 2 and (isinstance(model[0], flax.linen.Module) or callable(model[0])) and _has_arrays(model[1])
    if isinstance(model, functools.partial):
        return _has_arrays((model.args, model.keywords))
    bound = isinstance(model, flax.linen.Module) and model.scope is not None
    return bound or isinstance(model, flax.nnx.Module) or (callable(model) and hasattr(model, "lower") and hasattr(model, "trace"))


def _has_arrays(tree: object) -> bool:
    return any(hasattr(leaf, "dtype") and hasattr(leaf, "shape") for leaf in jax.tree_util.tree_leaves(tree))


def answering(model: Any) -> Answering:
    """The model with its parameters bound, and switched to inference. Raises InvalidInput."""
    kind = type(model[0] if isinstance(model, tuple) else model)
    source_class = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(model, flax.nnx.Module):
        return _of_nnx(model, source_class)
    if isinstance(model, flax.linen.Module):
        return _of_linen(model.clone(parent=None), model.variables, source_class)
    if isinstance(model, tuple) and isinstance(model[0], flax.linen.Module):
        variables = model[1] if "params" in model[1] else {"params": model[1]}
        return _of_linen(model[0], variables, source_class)
    if isinstance(model, tuple):
        function, parameters = model
        names, switches = inputs_of(function, skip=1)
        return Answering(
            function=lambda *inputs: function(parameters, *inputs, **switches),
            names=names,
            source_class=getattr(function, "__qualname__", source_class),
            notes=_told(switches),
        )
    names, switches = inputs_of(model)
    inner = model.func if isinstance(model, functools.partial) else model
    return Answering(
        function=lambda *inputs: model(*inputs, **switches),
        names=names,
        source_class=getattr(inner, "__qualname__", source_class),
        notes=_told(switches),
    )


def _of_nnx(model: Any, source_class: str) -> Answering:
    """A copy of the module that is in inference: the person's own stays as it is."""
    copy = flax.nnx.clone(model)
    training = sorted({mode for _, part in flax.nnx.iter_modules(copy) for mode in _MODES if getattr(part, mode, None) is False})
    copy.eval()
    names, switches = inputs_of(copy.__call__)
    graph, state = flax.nnx.split(copy)

    def function(*inputs: Any) -> Any:
        return flax.nnx.merge(graph, state)(*inputs, **switches)  # a module made anew, so that calls leave no state behind

    notes = (f"the module was in training ({', '.join(training)}): switched to inference",) if training else ()
    return Answering(function=function, names=names, source_class=source_class, notes=(*notes, *_told(switches)))


def _of_linen(module: Any, variables: Mapping[str, Any], source_class: str) -> Answering:
    names, switches = inputs_of(module.__call__)
    return Answering(
        function=lambda *inputs: module.apply(variables, *inputs, **switches), names=names, source_class=source_class, notes=_told(switches)
    )


def inputs_of(function: Any, *, skip: int = 0) -> tuple[tuple[str, ...], dict[str, bool]]:
    """Names of what the function must be given, and the switches that it has, set to inference."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        return (), {}
    switches = {
        each.name: _INFERENCE[each.name] for each in parameters if each.name in _INFERENCE and each.default is not _INFERENCE[each.name]
    }
    if any(each.name in switches and each.kind is each.POSITIONAL_ONLY for each in parameters):
        raise InvalidInput("a switch to inference of the function takes no name", hint="bind it with functools.partial")
    wanted = [each for each in parameters if each.default is each.empty and each.name not in switches]
    if any(each.kind is each.VAR_POSITIONAL for each in wanted):
        return (), switches
    positional = [each for each in wanted if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    return tuple(each.name for each in positional), switches


def _told(switches: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(f"called with {name}={value}" for name, value in switches.items())
