"""Takes units out of a module for good: the layers become smaller, in place. Needs torch. Which units go is told by the norms of what makes and what takes them."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import nn

from aweigh.core.errors import Unsupported
from aweigh.optimization.training.torch_channels import Space
from aweigh.optimization.training.torch_source import Live

_VECTOR: Final = 8
"""Units in multiples of this fill a processor's vectors."""
_SAID: Final = 200


def cut(live: Live, keep: float, spaces: Sequence[Space]) -> list[str]:
    """Keep the share of the units that each of the spaces had before the first cut, those that count most; what is gone by now, in words. Raises Unsupported."""
    modules = dict(live.module.named_modules())
    told = []
    for space in spaces:
        count = kept_of(space.size, keep)
        if count < len(modules[space.makers[0]].weight):
            _shrink(space, modules, _scores(space, modules).topk(count).indices.sort().values)
        if count < space.size:
            told.append(f"{' + '.join(space.makers)} {space.size} -> {count}")
    if not told:
        raise Unsupported("its hidden layers are too narrow for this")
    try:
        live.answers(live.module)
    except Exception as error:
        raise Unsupported(
            f"forward counts on the sizes that were cut: {str(error).strip()[:_SAID]}", hint="take the sizes from the tensors: x.flatten(1)"
        ) from error
    return told


def kept_of(size: int, keep: float) -> int:
    """How many of so many units stay."""
    count = max(1, round(size * keep))
    return min(size, -(-count // _VECTOR) * _VECTOR) if size >= 2 * _VECTOR else count


def _scores(space: Space, modules: dict[str, Any]) -> Any:
    """How much each unit counts: the norm of what makes it times the norm of what is made of it."""
    going_in = sum(modules[name].weight.detach().flatten(1).pow(2).sum(1) for name in space.makers)
    for name in space.companions:
        if isinstance(modules[name], nn.modules.batchnorm._BatchNorm) and modules[name].affine and modules[name].running_var is not None:
            going_in = going_in * modules[name].weight.detach().pow(2) / (modules[name].running_var + modules[name].eps)
    going_out = torch.zeros(len(going_in))
    for name, times in space.takers:
        weight = modules[name].weight.detach()
        columns = weight.transpose(0, 1).reshape(weight.shape[1], -1).pow(2).sum(1)
        going_out += columns.reshape(-1, times).sum(1)
    return (going_in * going_out).sqrt()


def _shrink(space: Space, modules: dict[str, Any], kept: Any) -> None:
    for name in space.makers:
        module = modules[name]
        _choose(module, ("weight", "bias"), kept)
        setattr(module, "out_features" if isinstance(module, nn.Linear) else "out_channels", len(kept))
    for name in space.companions:
        _shrink_companion(modules[name], kept)
    for name, times in space.takers:
        module = modules[name]
        columns = (kept[:, None] * times + torch.arange(times)).flatten()
        module.weight = nn.Parameter(module.weight.detach()[:, columns].clone(), requires_grad=module.weight.requires_grad)
        setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", len(columns))


def _shrink_companion(module: Any, kept: Any) -> None:
    _choose(module, ("weight", "bias", "running_mean", "running_var"), kept)
    if isinstance(module, nn.LayerNorm):
        module.normalized_shape = (len(kept),)
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = len(kept)
    else:  # a depthwise convolution
        module.in_channels = module.out_channels = module.groups = len(kept)


def _choose(module: Any, names: tuple[str, ...], kept: Any) -> None:
    """Of each of these tensors, the entries that stay."""
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, nn.Parameter):
            setattr(module, name, nn.Parameter(value.detach()[kept].clone(), requires_grad=value.requires_grad))
        elif value is not None:
            setattr(module, name, value[kept].clone())
