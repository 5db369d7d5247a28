"""Inference mode, enforced: dropout that is on and normalisation that still learns are found, switched where that is possible and told, else refused by name.

Called by `frameworks/torch.py` before anything is asked or traced.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch

from aweigh.core.errors import Unsupported
from aweigh.core.tensors import Tensor
from aweigh.packing.frameworks.torch_inputs import Subject
from aweigh.runtimes.torch_program import ask

_DROPOUTS: Final = frozenset(
    {
        "dropout",
        "dropout_",
        "feature_dropout",
        "feature_dropout_",
        "alpha_dropout",
        "alpha_dropout_",
        "native_dropout",
        "rrelu",
        "bernoulli",
    }
)
_NORMALISATIONS: Final = {"batch_norm": 5, "native_batch_norm": 5, "cudnn_batch_norm": 5, "_native_batch_norm_legit": 5}
"""Where their argument `training` stands."""
_ATTENTION: Final = "scaled_dot_product_attention"
_RECURRENT: Final = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
_TRAINED: Final = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._BatchNorm)
_SHOWN: Final = 6
_AGAIN: Final = "call model.eval() before you export or trace it"


def for_inference(model: Any) -> tuple[Any, list[str]]:
    """The model as it answers in production, and what was switched for that. Raises Unsupported that names what cannot be."""
    if isinstance(model, torch.export.ExportedProgram):
        return _program(model)
    notes = []
    learning = [name or type(part).__name__ for name, part in model.named_modules() if _learns(part)]
    if learning:
        shown = ", ".join(learning[:_SHOWN]) + (f" and {len(learning) - _SHOWN} more" if len(learning) > _SHOWN else "")
        notes.append(f"the model was in training mode ({shown}): switched to inference, as model.eval() does")
    if isinstance(model, torch.jit.ScriptModule):
        model.eval()
        _check_traced(model)
    return model, notes


def is_recurrent(model: Any) -> bool:
    """Whether recurrent layers are in it."""
    if isinstance(model, torch.export.ExportedProgram):
        return any(_operator(node) in _RECURRENT for node in model.graph.nodes)
    return any(
        isinstance(part, torch.nn.RNNBase) or getattr(part, "original_name", "") in {"LSTM", "GRU", "RNN"} for part in model.modules()
    )


def _learns(part: Any) -> bool:
    kind = getattr(part, "original_name", "")
    named = isinstance(part, torch.jit.ScriptModule) and ("Dropout" in kind or "BatchNorm" in kind)
    return bool(getattr(part, "training", False)) and (isinstance(part, _TRAINED) or named)


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """A live module in inference mode inside, as its owner left it afterwards; attention's fast path off, which answers padded places otherwise."""
    parts = list(model.modules()) if isinstance(model, torch.nn.Module) and not isinstance(model, torch.jit.ScriptModule) else []
    before = [(part, part.training) for part in parts]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    for part in parts:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, training in before:
            part.training = training


def _program(program: Any) -> tuple[Any, list[str]]:
    """An exported program whose dropout is off and whose normalisations use what they learnt."""
    notes = []
    for node in list(program.graph.nodes):
        note = _switched(node, _operator(node))
        notes += [note] if note else []
        if _operator(node) == "add_" and "num_batches_tracked" in str(node.args[0]) and not node.users:
            program.graph.erase_node(node)
    if notes:
        program.graph_module.recompile()
    changed = sorted(program.graph_signature.buffers_to_mutate.values())
    if changed:
        raise Unsupported(
            f"the program changes its own {', '.join(changed[:_SHOWN])} with every call",
            hint=f"{_AGAIN}; a model in production keeps no state",
        )
    return program, notes


def _switched(node: Any, name: str) -> str:
    """Switch one operator to inference; what was done, in words, "" where nothing was."""
    if name in _DROPOUTS and _argument(node, 2, "train", "training") is True:
        _set(node, 2, "train", "training")
        return f"dropout '{_place(node)}' was on: switched off"
    if name == _ATTENTION and float(_argument(node, 4, "dropout_p") or 0) > 0:
        _set(node, 4, "dropout_p", value=0.0)
        return f"dropout of the attention '{_place(node)}' was on: switched off"
    if name in _RECURRENT and _argument(node, 6, "train") is True:
        _set(node, 6, "train")
        return f"'{_place(node)}' was in training mode: switched to inference"
    at = _NORMALISATIONS.get(name)
    if at is not None and _argument(node, at, "training") is True and len(node.args) > 4 and node.args[3] is not None:
        _set(node, at, "training")
        return f"batch normalisation '{_place(node)}' was in training mode: switched to what it had learnt"
    return ""


def _operator(node: Any) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0] if node.op == "call_function" else ""


def _argument(node: Any, at: int, *names: str) -> Any:
    return node.args[at] if len(node.args) > at else next((node.kwargs[name] for name in names if name in node.kwargs), None)


def _set(node: Any, at: int, *names: str, value: object = False) -> None:
    if len(node.args) > at:
        node.args = (*node.args[:at], value, *node.args[at + 1 :])
    else:
        node.kwargs = {name: value if name in names else said for name, said in node.kwargs.items()}


def _place(node: Any) -> str:
    """The module that a node came from, by its name in the model."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack and stack[-1][0] else str(node.name)


def _check_traced(model: Any) -> None:
    """Raise Unsupported where tracing wrote training mode down for good."""
    graph = model.forward.graph.copy() if hasattr(model, "forward") else None
    if graph is None:
        return
    torch._C._jit_pass_inline(graph)
    for node in (
        graph.findAllNodes("aten::dropout") + graph.findAllNodes("aten::feature_dropout") + graph.findAllNodes("aten::alpha_dropout")
    ):
        if _is_on(node, 2) and (list(node.inputs())[1].toIValue() or 0) > 0:  # scripted attention is told a share of nothing instead
            raise Unsupported(f"dropout{_scope(node)} was left on when the model was traced, for good", hint=_AGAIN)
    for node in graph.findAllNodes("aten::batch_norm"):
        if _is_on(node, 5) and str(list(node.inputs())[3].type()) != "NoneType":
            raise Unsupported(
                f"batch normalisation{_scope(node)} was traced in training mode: every answer would depend on its batch", hint=_AGAIN
            )


def _is_on(node: Any, at: int) -> bool:
    value = list(node.inputs())[at].node()
    return bool(value.kind() == "prim::Constant" and value.hasAttribute("value") and value.i("value") == 1)


def _scope(node: Any) -> str:
    scope = str(node.scopeName()).rpartition("::")[2]
    return f" '{scope}'" if scope else ""


def check_steady(subject: Subject, tensors: Sequence[Tensor]) -> None:
    """Raise Unsupported for a model that answers by chance, or changes itself with every call."""
    with inference(subject.model):
        before = {name: value.clone() for name, value in _buffers(subject.model)}
        one, two = ask(subject.call, tensors), ask(subject.call, tensors)
        changed = [name for name, value in _buffers(subject.model) if name in before and not _equal(value, before[name])]
        for name, value in _buffers(subject.model):
            if name in changed:
                value.copy_(before[name])
    if changed:
        raise Unsupported(
            f"the model changes its own {', '.join(changed[:_SHOWN])} with every call: normalisation that is held in training mode, or state that it keeps",
            hint="let forward leave the module as it is: F.batch_norm(..., training=self.training)",
        )
    if any(not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for (_, a), (_, b) in zip(one, two, strict=True)):
        places = _random_places(subject, tensors)
        raise Unsupported(
            f"the model answers by chance{places}: the same rows give different answers in inference mode",
            hint="dropout that is called as a function must be told: F.dropout(x, training=self.training)",
        )


def _random_places(subject: Subject, tensors: Sequence[Tensor]) -> str:
    """Where chance comes in, as far as tracing shows it."""
    if subject.kind != "module":
        return ""
    try:
        with inference(subject.model):
            program = torch.export.export(
                subject.model, (), subject.arguments([torch.from_numpy(tensor) for tensor in tensors]), strict=False
            )
    except Exception:  # noqa: BLE001  # tracing raises anything; the refusal stands without the place
        return ""
    found = [f"{_operator(node)} in '{_place(node)}'" for node in program.graph.nodes if _operator(node) in _DROPOUTS]
    return f" ({', '.join(found[:_SHOWN])})" if found else ""


def _buffers(model: Any) -> list[tuple[str, Any]]:
    return list(model.named_buffers()) if isinstance(model, torch.nn.Module) else []


def _equal(one: Any, two: Any) -> bool:
    return bool(torch.equal(torch.nan_to_num(one.float()), torch.nan_to_num(two.float())))
