"""The child's side of the ExecuTorch session: loads the program, then answers. Runs only inside an isolated process, never in the server."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
import torch
from executorch.runtime import Runtime, Verification

from aweigh.core.errors import InvalidFile, InvalidInput
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]
_SAID: Final = 300


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the child needs: the file, the signature, and at which place each tensor goes in and comes out."""

    file: str
    signature: Signature
    places: dict[str, int]


def open_session(opening: Opening) -> Handler:
    """Load the program and return its handler. Raises InvalidFile."""
    try:
        program = Runtime.get().load_program(opening.file, verification=Verification.InternalConsistency)
        method = program.load_method("forward")
    except (RuntimeError, ValueError) as error:
        raise InvalidFile(f"not a program that ExecuTorch can load: {_line(error)}", hint="make it again with 'aweigh optimize'") from error
    if method is None:
        raise InvalidFile("the program has no method 'forward'", hint="make it again with 'aweigh optimize'")
    asked = _Program(program, method, opening)
    return asked.handle


class _Program:
    """A program whose sizes are fixed: batches of another size are answered row by row."""

    def __init__(self, program: Any, method: Any, opening: Opening) -> None:
        self._program = program  # the method reads from it
        self._method = method
        meta = method.metadata
        self._inputs = [""] * meta.num_inputs()
        self._outputs: dict[str, int] = {}
        for spec in opening.signature.inputs:
            self._inputs[_place(opening, f"input:{spec.name}", meta.num_inputs())] = spec.name
        for spec in opening.signature.outputs:
            self._outputs[spec.name] = _place(opening, f"output:{spec.name}", meta.num_outputs())
        if "" in self._inputs:
            raise InvalidFile("the program takes more tensors than the package gives it", hint="make it again with 'aweigh optimize'")
        self._sizes = [tuple(int(size) for size in meta.input_tensor_meta(at).sizes()) for at in range(meta.num_inputs())]
        self._batched = opening.signature.batched

    def handle(self, header: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
        given = [np.ascontiguousarray(tensors[name]) for name in self._inputs]
        if all(tensor.shape == sizes for tensor, sizes in zip(given, self._sizes, strict=True)):
            found = self._execute(given)
        elif self._batched and all(tensor.shape[1:] == sizes[1:] for tensor, sizes in zip(given, self._sizes, strict=True)):
            rows = [self._execute([tensor[at : at + 1] for tensor in given]) for at in range(len(given[0]))]
            found = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        else:
            shapes = ", ".join(str(list(tensor.shape)) for tensor in given)
            raise InvalidInput(f"the program takes {', '.join(map(str, map(list, self._sizes)))}, not {shapes}")
        return header, {name: found[at] for name, at in self._outputs.items()}

    def _execute(self, given: list[Tensor]) -> list[Tensor]:
        try:
            answers = self._method.execute([torch.from_numpy(tensor.copy()) for tensor in given])
        except (RuntimeError, ValueError, TypeError) as error:
            raise InvalidInput(f"the model refused these inputs: {_line(error)}") from error
        return [answer.numpy().copy() for answer in answers]  # the next call writes over them


def _place(opening: Opening, name: str, count: int) -> int:
    at = opening.places.get(name, -1)
    if not 0 <= at < count:
        raise InvalidFile(f"the variant does not say where {name.replace(':', ' ')} goes", hint="make it again with 'aweigh optimize'")
    return at


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:_SAID]
