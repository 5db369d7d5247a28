"""The source of a package as a live module of PyTorch: judged, loaded, and held to the package's own answers before anything is trained. Needs torch."""

import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import safetensors
import safetensors.torch
import torch

from aweigh.core import plugins
from aweigh.core.errors import FileMissing, InvalidFile, InvalidInput, Refused, Unsupported
from aweigh.core.tensors import Tensor
from aweigh.optimization.passing import PassJob
from aweigh.optimization.training.hook import Rows, far, rows_of
from aweigh.runtimes.torch_program import ask, only_weights, to_torch
from aweigh.runtimes.torch_weights import filled, made_by

_SAID: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A module that is the package's model, the parameters of `forward` that its inputs feed, and the search's rows."""

    module: Any
    names: tuple[str, ...]
    rows: Rows
    notes: tuple[str, ...] = ()

    def tensors(self, count: int | None = None) -> list[Any]:
        """Rows as the module takes them, in `forward`'s order."""
        return [to_torch(rows[:count]) for rows in self.rows.inputs.values()]

    def answers(self, module: Any) -> list[Tensor]:
        """What a module answers to all rows, in inference mode."""
        return _answers(module, list(self.rows.inputs.values()))


def live(job: PassJob) -> Live:
    """Load it. Raises NotTrusted, InvalidFile, InvalidInput, and Refused where it is not the package's model."""
    found = _loaded(job)
    module, notes = (made_by(job.factory), []) if found is None else filled(found, job.factory)
    rows = rows_of(job)
    rows = Rows(inputs={spec.name: rows.inputs[spec.name] for spec in job.signature.inputs}, outputs=rows.outputs)
    names = parameters(module, list(rows.inputs))
    made = Live(module=module, names=names, rows=rows, notes=tuple(notes))
    _check_same(made, job)
    return made


def _loaded(job: PassJob) -> Mapping[str, Any] | None:
    """The weights of the source file; None where the factory brings its own."""
    if not job.source:
        return None
    path = Path(job.source)
    if not path.is_file():
        raise FileMissing(f"{path} does not exist", hint="give the file that the package was packed from with --source")
    judge = cast("Callable[..., None]", plugins.load("judge", "torch"))
    judge(path, trust=False)
    if path.suffix == ".safetensors":
        try:
            return cast("Mapping[str, Any]", safetensors.torch.load_file(path, device="cpu"))
        except (safetensors.SafetensorError, ValueError, KeyError, OSError, RuntimeError) as error:
            raise InvalidFile(f"{path.name}: not a readable safetensors file: {str(error)[:_SAID]}", hint="save it again") from error
    try:
        with only_weights():
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError, OSError) as error:
        raise Unsupported(
            f"{path.name} holds no weights that can be trained: {str(error).strip()[:_SAID]}",
            hint="save module.state_dict() (torch.save, or safetensors) and give --class module:factory",
        ) from error
    if not isinstance(found, Mapping):
        raise Unsupported(f"{path.name} holds a {type(found).__name__}, no weights", hint="save module.state_dict()")
    return found


def parameters(module: Any, inputs: list[str]) -> tuple[str, ...]:
    """The parameters of `forward` that the package's inputs feed: those of the same names, else the first ones in order."""
    taken = [
        each.name
        for each in inspect.signature(module.forward).parameters.values()
        if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}
    ]
    if set(inputs) <= set(taken):
        return tuple(inputs)
    if len(taken) < len(inputs):
        raise InvalidInput(
            f"forward takes {', '.join(taken) or 'nothing'}, the package {', '.join(inputs)}",
            hint="name the class that was packed with --class",
        )
    return tuple(taken[: len(inputs)])


def _check_same(made: Live, job: PassJob) -> None:
    """Raise Refused where the module answers otherwise than the package does."""
    if len(made.rows.outputs) != len(job.signature.outputs):
        return
    answers = made.answers(made.module)
    expected = [made.rows.outputs[spec.name] for spec in job.signature.outputs]
    if len(answers) != len(expected):
        raise Refused(
            f"the source answers {len(answers)} tensors, the package {len(expected)}",
            hint="give the file and the class that it was packed from",
        )
    for spec, one, other in zip(job.signature.outputs, answers, expected, strict=True):
        if one.shape != other.shape or far(one, other):
            raise Refused(
                f"the source is not the package's model: '{spec.name}' differs from the package's answers to the same rows",
                hint="give the file that it was packed from with --source, and its --class",
            )


def _answers(module: Any, tensors: list[Tensor]) -> list[Tensor]:
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        return [tensor for _, tensor in ask(lambda given: module(*given), tensors)]
    finally:
        for part, training in before:
            part.training = training
