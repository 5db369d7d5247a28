"""The child's side of the torch session: judges and loads the program, then answers. Runs only inside an isolated process, never in the server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import torch

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.runtimes.torch_program import Program, ask, load_program

Handler = Callable[[dict[str, Any], Tensors], tuple[dict[str, Any], dict[str, Tensor]]]
_SAID: Final = 500


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the child needs: the file, the signature, and how many threads one call may use."""

    file: str
    signature: Signature
    threads: int


def open_session(opening: Opening) -> Handler:
    """Load the program and return its handler. Raises what loading it raises."""
    torch.set_num_threads(max(1, opening.threads))
    program = load_program(Path(opening.file))
    if program.kind == "torchscript":
        program.model.eval()
    return handler_of(program, opening.signature)


def handler_of(program: Program, signature: Signature) -> Handler:
    """What answers requests with the program, outputs by the signature's names."""
    outputs = [spec.name for spec in signature.outputs]
    named = [spec.name for spec in signature.inputs]
    inputs = program.names if sorted(program.names) == sorted(named) else named

    def handle(header: dict[str, Any], tensors: Tensors) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            answered = ask(program.call, [tensors[name] for name in inputs])
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            said = str(error).strip().partition("\n")[0][:_SAID]
            raise InvalidInput(f"the model refused these inputs: {type(error).__name__}: {said}") from error
        found = dict(answered)
        if any(name not in found for name in outputs):
            raise InvalidInput(f"the model gave {', '.join(found)} for these inputs, not {', '.join(outputs)}")
        return header, {name: found[name] for name in outputs}

    return handle
