"""What a person's training code returns, taken into the module that it was given: that one is treated by the passes and written. Needs torch."""

from typing import Any, Final

import torch

from aweigh.core.errors import InvalidInput
from aweigh.optimization.training.hook import far
from aweigh.optimization.training.torch_source import Live

_SAID: Final = 200
_HINT: Final = "train the model in place and return nothing, or return a module of the same layers: a copy, or their averages"


def take_over(text: str, live: Live, model: Any, returned: Any) -> None:
    """Give the model the weights of what was returned: a module of the same layers, or one that wraps such a module. Raises InvalidInput where it answers otherwise for all that."""
    if not isinstance(returned, torch.nn.Module):
        raise InvalidInput(f"--train {text} returns a {type(returned).__name__}, no module", hint="return the model, or nothing")
    state = _fitting(model.state_dict(), returned.state_dict())
    if state is None:
        raise InvalidInput(
            f"--train {text} returns a {type(returned).__name__} whose layers are not those of the model it was given", hint=_HINT
        )
    model.load_state_dict(state)
    if not _alike(live, model, returned):
        raise InvalidInput(f"--train {text} returns a {type(returned).__name__} that does more than the model it was given", hint=_HINT)


def _fitting(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any] | None:
    """The tensors of these names and shapes; where a module wraps the one that is meant, all its names begin alike ("module.first.weight")."""
    first = next(iter(wanted), "")
    for prefix in (name.removesuffix(first) for name in found if name == first or name.endswith(f".{first}")):
        state = {name: found.get(prefix + name) for name in wanted}
        if all(_shape(state[name]) == _shape(value) for name, value in wanted.items()):
            return state
    return None


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value)


def _alike(live: Live, model: Any, returned: Any) -> bool:
    try:
        theirs = live.answers(returned)
    except Exception as error:  # a person's forward raises anything
        raise InvalidInput(
            f"what --train returns cannot be asked: {type(error).__name__}: {str(error).strip()[:_SAID]}", hint=_HINT
        ) from error
    ours = live.answers(model)
    return len(ours) == len(theirs) and all(
        one.shape == other.shape and not far(one, other) for one, other in zip(ours, theirs, strict=True)
    )
