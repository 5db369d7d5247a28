"""Which units of a module can be taken out, and what would have to shrink with them: read off its traced graph. Needs torch.

A space is a set of units: the layers that make them, those that go unit by unit (normalisation, depthwise convolution), and those that take them. What is added together
is one space. Whatever is not understood closes the spaces that it touches, so nothing is cut that something else counts on.
"""

import inspect
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from aweigh.core.errors import Unsupported
from aweigh.optimization.training.torch_source import Live

_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_THROUGH: Final = (
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.Softplus,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Identity, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Upsample,
)  # fmt: skip
"""Modules that treat each unit alike, whatever the others are."""
_THROUGH_NAMES: Final = frozenset(
    {
        "relu", "relu_", "relu6", "gelu", "silu", "mish", "tanh", "sigmoid", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "elu", "selu", "celu", "softplus", "dropout",
        "dropout2d", "alpha_dropout", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
        "adaptive_max_pool2d", "boolean_dispatch", "interpolate", "contiguous", "clamp", "abs", "square", "neg", "clone",
    }
)  # fmt: skip
_TOGETHER: Final = frozenset({"add", "iadd", "add_", "sub", "isub", "mul", "imul", "mul_", "truediv"})
_RESHAPES: Final = frozenset({"flatten", "view", "reshape"})
_REDUCTIONS: Final = frozenset({"mean", "amax"})
_SIZES: Final = frozenset({"size", "getattr", "getitem", "dim", "floordiv"})
_SAID: Final = 200


@dataclass(eq=False, slots=True)
class Space:
    """Units that stay or go together."""

    size: int
    """How many there were when the module was read."""
    makers: list[str] = field(default_factory=list)
    """Names of the layers whose outputs they are."""
    companions: list[str] = field(default_factory=list)
    takers: list[tuple[str, int]] = field(default_factory=list)
    """Names of the layers that take them, and how many of their inputs each unit is."""
    closed: str = ""
    """Why none may go."""
    into: "Space | None" = None
    """The one that it was joined with."""

    def found(self) -> "Space":
        """The space that this one is part of by now."""
        space = self
        while space.into is not None:
            space = space.into
        return space

    def join(self, other: "Space") -> None:
        """Make one of two."""
        one, two = self.found(), other.found()
        if one is two:
            return
        two.into = one
        one.makers += two.makers
        one.companions += two.companions
        one.takers += two.takers
        one.closed = one.closed or two.closed or ("" if one.size == two.size else "layers of other sizes are added to it")


@dataclass(slots=True, frozen=True)
class _At:
    """Where the units are in a tensor: on which axis counted from the front, and how many neighbours on it belong to one."""

    space: Space
    axis: int
    times: int = 1


def spaces(live: Live) -> list[Space]:
    """Those whose units may go; to be read once, before the first cut, since a depthwise convolution of which one channel is left looks like any other.
    Raises Unsupported where the module cannot be traced, or has none."""
    reader = _Reader(live)
    every = list(dict.fromkeys(space.found() for space in reader.spaces))
    found = [space for space in every if not space.closed and space.makers and space.takers]
    if not found:
        why = (
            "; ".join(dict.fromkeys(f"{', '.join(space.makers)}: {space.closed}" for space in every if space.closed))
            or "it has no layers between others"
        )
        raise Unsupported(f"no units of this model can be taken out ({why[: 2 * _SAID]})")
    return found


class _Reader:
    """Walks the traced graph once."""

    def __init__(self, live: Live) -> None:
        self.spaces: list[Space] = []
        self._at: dict[Any, _At | None] = {}
        module = live.module
        try:
            traced = fx.symbolic_trace(module, concrete_args=_constants(live))
            module.eval()
            with torch.no_grad():
                ShapeProp(traced).propagate(*live.tensors(2))
        except Exception as error:
            raise Unsupported(f"the module's forward cannot be traced: {type(error).__name__}: {str(error).strip()[:_SAID]}") from error
        self._modules = dict(module.named_modules())
        self._used = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
        self._shared = _shared(module)
        for node in traced.graph.nodes:
            self._at[node] = self._read(node)

    def _read(self, node: Any) -> _At | None:
        if node.op == "call_module":
            return self._module(node, self._modules[node.target])
        if node.op in {"call_function", "call_method"}:
            return self._call(node)
        if node.op == "output":
            self._close(node, "it is what the model answers")
        return None

    def _module(self, node: Any, module: Any) -> _At | None:
        given = self._at.get(node.args[0]) if node.args else None
        if self._used[node.target] > 1 or any(id(parameter) in self._shared for parameter in module.parameters()):
            return self._close(node, f"{node.target} is used more than once")
        if isinstance(module, nn.Linear):
            return self._layer(node, given, module.out_features, axis=len(_shape(node)) - 1)
        if isinstance(module, _CONVOLUTIONS):
            if module.groups == 1:
                return self._layer(node, given, module.out_channels, axis=1)
            if given is not None and given.axis == 1 and given.times == 1 and module.groups == module.in_channels == module.out_channels:
                return self._companion(node, given)
            return self._close(node, f"{node.target} is a convolution in groups")
        norm = isinstance(module, _BATCH_NORMS) and given is not None and given.axis == 1
        last = (
            isinstance(module, nn.LayerNorm)
            and len(module.normalized_shape) == 1
            and given is not None
            and given.axis == len(_shape(node)) - 1
        )
        if (norm or last) and given is not None and given.times == 1:
            return self._companion(node, given)
        if isinstance(module, nn.Flatten):
            return self._reshaped(node, given)
        if isinstance(module, _THROUGH):
            return given
        return self._close(node, f"{type(module).__name__} '{node.target}' takes it")

    def _layer(self, node: Any, given: _At | None, size: int, *, axis: int) -> _At | None:
        if given is not None:
            taken = given.axis == (1 if axis == 1 else len(_shape(node.args[0])) - 1)
            if taken:
                given.space.found().takers.append((node.target, given.times))
            else:
                self._close(node, f"{node.target} takes it along another axis")
        space = Space(size, makers=[node.target])
        self.spaces.append(space)
        return _At(space, axis)

    def _companion(self, node: Any, given: _At) -> _At:
        given.space.found().companions.append(node.target)
        return given

    def _call(self, node: Any) -> _At | None:
        name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
        given = [self._at[each] for each in node.all_input_nodes if _shape(each) is not None]
        at = given[0] if given else None
        if name in _SIZES and _shape(node) is None:
            return None
        if name in _THROUGH_NAMES and len(given) == 1:
            return at
        if name in _RESHAPES and len(given) == 1:
            return self._reshaped(node, at)
        if name in _REDUCTIONS and at is not None and at.axis == 1 and _over_space(node):
            return at
        if name in _TOGETHER:
            return self._together(node, given)
        return self._close(node, f"'{name}' takes it")

    def _reshaped(self, node: Any, at: _At | None) -> _At | None:
        if at is None:
            return None
        before, after = _shape(node.args[0]), _shape(node)
        if before == after:
            return at
        if at.axis == 1 and len(after) == 2 and before[0] == after[0]:
            return _At(at.space, 1, at.times * after[1] // before[1])
        return self._close(node, "it is reshaped")

    def _together(self, node: Any, given: list[_At | None]) -> _At | None:
        known = [at for at in given if at is not None]
        ranks = {len(_shape(each)) for each in node.all_input_nodes if _shape(each) is not None}
        if len(known) != len(given) or not known or len({(at.axis, at.times) for at in known}) > 1 or len(ranks) > 1:
            return self._close(node, "something else is added to it")
        for other in known[1:]:
            known[0].space.join(other.space)
        return known[0]

    def _close(self, node: Any, why: str) -> _At | None:
        """Nothing that the node is given may go; what it gives is nothing that is known."""
        for each in node.all_input_nodes:
            at = self._at.get(each)
            if at is not None and not at.space.found().closed:
                at.space.found().closed = why
        return None


def _constants(live: Live) -> dict[str, Any]:
    """Parameters of `forward` beyond the inputs stay at their defaults."""
    every = inspect.signature(live.module.forward).parameters
    return {name: each.default for name, each in every.items() if name not in live.names and each.default is not each.empty}


def _shape(node: Any) -> Any:
    """Of a tensor: its sizes; None for anything else."""
    found = getattr(node, "meta", {}).get("tensor_meta")
    return tuple(found.shape) if found is not None and hasattr(found, "shape") else None


def _over_space(node: Any) -> bool:
    """Whether a reduction leaves the rows and their units."""
    before, after = _shape(node.args[0]), _shape(node)
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    dims = [dims] if isinstance(dims, int) else list(dims or ())
    return bool(dims) and all(dim % len(before) > 1 for dim in dims) and len(after) >= 2


def _shared(module: Any) -> set[int]:
    """Parameters that two layers have in common."""
    seen = Counter(id(parameter) for part in module.modules() for parameter in part.parameters(recurse=False))
    return {name for name, times in seen.items() if times > 1}
