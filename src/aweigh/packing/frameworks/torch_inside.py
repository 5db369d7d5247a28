"""What a PyTorch module holds inside for given inputs, at the tensors of its ONNX graph: one landmark a submodule. Called by `torch_ways.py` once a proof failed.

The exporter writes into each node which modules it came from; TorchScript's exporter writes it into the node's name.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from aweigh.core.tensors import Tensor
from aweigh.packing.cause import Inside, Landmark
from aweigh.packing.frameworks.torch_inputs import Subject
from aweigh.packing.frameworks.torch_modes import inference
from aweigh.runtimes.torch_program import ask, to_numpy

_SCOPES: Final = "pkg.torch.onnx.name_scopes"


def module_landmarks(subject: Subject) -> Inside | None:
    """How to look inside of a live module; None for programs, which take no hooks."""
    if not isinstance(subject.model, torch.nn.Module) or isinstance(subject.model, torch.jit.ScriptModule):
        return None

    def inside(proto: Any, inputs: Mapping[str, Tensor]) -> Sequence[Landmark]:
        given = _outputs_of_modules(subject, inputs)
        kinds = {name: type(module).__name__ for name, module in subject.model.named_modules()}
        return [
            Landmark(place=f"layer '{name}' ({kinds[name]})", tensor=tensor, expected=given[name])
            for name, tensor in last_tensors(proto).items()
            if name in given
        ]

    return inside


def _outputs_of_modules(subject: Subject, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each submodule that is called once answers, where that is one tensor."""
    calls: dict[str, list[Any]] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            calls.setdefault(name, []).append(output.detach().clone() if isinstance(output, torch.Tensor) else None)

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in subject.model.named_modules() if name]
    try:
        with inference(subject.model):
            ask(subject.call, [inputs[name] for name in subject.names])
    finally:
        for hook in hooks:
            hook.remove()
    return {name: to_numpy(found[0]) for name, found in calls.items() if len(found) == 1 and found[0] is not None}


def last_tensors(proto: Any) -> dict[str, str]:
    """The last tensor that nodes of each module give, by the module's path."""
    found: dict[str, str] = {}
    for node in proto.graph.node:
        for module in _modules(node):
            found[module] = node.output[0]
    return found


def _modules(node: Any) -> Iterator[str]:
    """Paths of the modules that a node came from, outermost first."""
    scopes = next((item.value for item in node.metadata_props if item.key == _SCOPES), "")
    if scopes:
        yield from (scope for scope in ast.literal_eval(scopes)[:-1] if scope)
        return
    path: list[str] = []
    for part in node.name.split("/")[1:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()  # a container's children are written with its name before theirs
        path.append(part)
        yield ".".join(path)
