"""PyTorch programs, loaded and asked: judged first, through torch's own reader of archives, so that what is judged is what is loaded. Needs torch.

Called by the runtime's own process and by packing, never in the server.
"""

import dataclasses
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.utils._pytree as pytree

from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput, NotTrusted, Unsupported
from aweigh.core.tensors import Tensor
from aweigh.runtimes.torch_judge import HINT, judge_exported, judge_operators, judge_script

_SAID: Final = 400
_ZIP: Final = b"PK\x03\x04"
_ONLY_WEIGHTS: Final = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
Call = Callable[[Sequence[Any]], Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A loaded program: `kind` is "pt2" or "torchscript", `model` the ExportedProgram or ScriptModule, `names` its inputs, `call` takes their tensors in that order and
    asks `module` with them."""

    kind: str
    model: Any
    names: tuple[str, ...]
    call: Call
    module: Any


def load_program(path: Path) -> Program:
    """Judge and load. Raises NotTrusted, InvalidFile, FileMissing, Unsupported."""
    if not path.is_file():
        raise FileMissing(f"{path} does not exist")
    judge_file(path)
    try:
        with only_weights():
            exported = _is_exported(path)
            model = _open_exported(path) if exported else _open_script(path)
        return exported_program(model) if exported else script_program(model)
    except pickle.UnpicklingError as error:
        raise NotTrusted(f"{path.name} holds a pickle of more than tensors: loading it would run code from the file", hint=HINT) from error
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, OSError, SyntaxError) as error:
        said = str(error).strip()[:_SAID]
        raise InvalidFile(
            f"{path.name} cannot be loaded: {type(error).__name__}: {said}", hint="it is damaged, or of another version of torch"
        ) from error


def _open_exported(path: Path) -> Any:
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(file)  # a file: a path would have to end in .pt2


def _open_script(path: Path) -> Any:
    """As torch.jit.load does it, with a look at every function that came with the file before one of them is called."""
    unit = torch._C.CompilationUnit()
    module = torch._C.import_ir_module(unit, str(path), torch.device("cpu"), {}, False)  # noqa: FBT003  # takes no keywords
    for function in unit.get_functions():
        judge_operators(_kinds(function.graph))
    return torch.jit._recursive.wrap_cpp_module(module)


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _kinds(node.g(name))


def judge_file(path: Path) -> None:
    """Raise NotTrusted or InvalidFile where the archive is more than a program."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            raise InvalidFile(f"{path.name} is no archive of PyTorch from its first byte on", hint="save it again")
    try:
        reader = torch._C.PyTorchFileReader(str(path))
        members = reader.get_all_records()
    except RuntimeError as error:
        raise InvalidFile(f"{path.name} is no archive of PyTorch: {str(error).strip()[:_SAID]}", hint="save it again") from error
    if len(set(members)) != len(members):
        raise InvalidFile(f"{path.name} holds a member twice", hint="save it again")
    if _is_exported(path, members):
        judge_exported(members, reader.get_record)
    else:
        judge_script(members, reader.get_record)


def _is_exported(path: Path, members: Sequence[str] = ()) -> bool:
    found = members or torch._C.PyTorchFileReader(str(path)).get_all_records()
    return "archive_format" in found or any(name.startswith("models/") for name in found)


@contextmanager
def only_weights() -> Iterator[None]:
    """Whatever torch.load is told inside, it takes tensors alone."""
    before = os.environ.get(_ONLY_WEIGHTS)
    os.environ[_ONLY_WEIGHTS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ONLY_WEIGHTS]
        else:
            os.environ[_ONLY_WEIGHTS] = before


def exported_program(model: Any) -> Program:
    """An ExportedProgram as a Program: nested inputs are taken one by one, by the names that the program gives them."""
    given: list[Any] = []
    names: list[str] = []
    for spec in model.graph_signature.input_specs:
        if spec.kind is torch.export.graph_signature.InputKind.USER_INPUT:
            constant = isinstance(spec.arg, torch.export.graph_signature.ConstantArgument)
            given.append(spec.arg.value if constant else None)
            if not constant:
                names.append(spec.arg.name)
    places = [at for at, spec in enumerate(_user_inputs(model)) if not isinstance(spec.arg, torch.export.graph_signature.ConstantArgument)]
    module = model.module()

    def call(tensors: Sequence[Any]) -> Any:
        filled = list(given)
        for at, tensor in zip(places, tensors, strict=True):
            filled[at] = tensor
        args, kwargs = pytree.tree_unflatten(filled, model.call_spec.in_spec)
        return module(*args, **kwargs)

    return Program(kind="pt2", model=model, names=tuple(names), call=call, module=module)


def _user_inputs(model: Any) -> list[Any]:
    return [spec for spec in model.graph_signature.input_specs if spec.kind is torch.export.graph_signature.InputKind.USER_INPUT]


def script_program(model: Any) -> Program:
    """A ScriptModule as a Program: its inputs are the tensors that `forward` must be given. It stays in the mode that it is in."""
    names = []
    for argument in model.forward.schema.arguments[1:]:
        if str(argument.type) == "Tensor":
            names.append(argument.name)
        elif not argument.has_default_value():
            raise Unsupported(
                f"forward takes '{argument.name}', a {argument.type}, which is no tensor",
                hint="wrap the module in one whose forward takes tensors",
            )
    return Program(kind="torchscript", model=model, names=tuple(_plain_names(names)), call=lambda tensors: model(*tensors), module=model)


def _plain_names(names: Sequence[str]) -> list[str]:
    """Names without the numbers that tracing adds ('x.1'), where they stay different."""
    plain = [name.split(".")[0] for name in names]
    return plain if len(set(plain)) == len(plain) else list(names)


def to_torch(tensor: Tensor) -> Any:
    """A copy: the program may change what it is given, and what crossed between processes cannot be written."""
    if tensor.dtype == object:
        raise InvalidInput("PyTorch takes no texts", hint="send numbers")
    return torch.from_numpy(np.array(tensor, order="C", copy=True))


def flat_outputs(answer: Any) -> list[tuple[str, Any]]:
    """Tensors by name from what a module returned: one tensor is 'output', others are named by their keys, fields or positions."""
    if isinstance(answer, torch.Tensor):
        return [("output", answer)]
    if isinstance(answer, Mapping):
        pairs = [(str(key), value) for key, value in answer.items()]
    elif isinstance(answer, tuple) and hasattr(answer, "_fields"):
        pairs = list(zip(answer._fields, answer, strict=True))
    elif isinstance(answer, list | tuple):
        pairs = [(f"output_{at}" if len(answer) > 1 else "output", value) for at, value in enumerate(answer)]
    else:
        raise Unsupported(
            f"the model answers a {type(answer).__name__}, not tensors", hint="wrap it in a module whose forward returns tensors"
        )
    found: list[tuple[str, Any]] = []
    for name, value in pairs:
        if value is None:
            continue
        found += [(name, value)] if isinstance(value, torch.Tensor) else [(f"{name}_{inner}", one) for inner, one in flat_outputs(value)]
    return found


def to_numpy(tensor: Any) -> Tensor:
    """As numpy; bfloat16 as the float32 that holds it."""
    plain = tensor.detach().cpu()
    if plain.is_sparse or plain.is_quantized or plain.is_nested:
        raise Unsupported(
            "the model answers a sparse, quantized or nested tensor", hint="wrap it in a module whose forward returns a plain tensor"
        )
    found: Tensor = np.ascontiguousarray(plain.to(torch.float32).numpy() if plain.dtype is torch.bfloat16 else plain.numpy())
    return found


def ask(call: Call, tensors: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    """What a program answers, without gradients, attention's fast path off: it answers padded places otherwise than training did."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [(name, to_numpy(value)) for name, value in flat_outputs(call([to_torch(tensor) for tensor in tensors]))]
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
