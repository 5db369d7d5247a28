"""The child's side of a module that runs as its own Python: makes the module from the package's code, gives it its weights, then answers. Runs a person's code: only inside
an isolated process, never in the server."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import safetensors
import safetensors.torch
import torch

from aweigh.core.errors import AweighError, InvalidFile, InvalidInput
from aweigh.core.signature import Signature
from aweigh.runtimes.torch_process import Handler, handler_of
from aweigh.runtimes.torch_program import Program

_SAID: Final = 300


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the child needs: the weights, the folder of the code, what makes the module, the signature, and how many threads one call may use."""

    weights: str
    folder: str
    factory: str
    signature: Signature
    threads: int


def open_session(opening: Opening) -> Handler:
    """Make the module and return its handler. Raises InvalidFile for whatever its code raises."""
    torch.set_num_threads(max(1, opening.threads))
    try:
        module = _made(opening.factory, Path(opening.folder))
        safetensors.torch.load_model(module, opening.weights, device="cpu")
        module.eval()
    except (AweighError, MemoryError):
        raise
    except (safetensors.SafetensorError, OSError) as error:
        raise InvalidFile(
            f"the weights cannot be read: {str(error)[:_SAID]}", hint="the package is damaged: pack the model again"
        ) from error
    except Exception as error:  # boundary: a person's code may raise anything
        raise InvalidFile(
            f"{opening.factory} cannot be made: {type(error).__name__}: {str(error)[:_SAID]}",
            hint="what it imports must be among its own files, or in the environment 'torch'",
        ) from error
    names = tuple(spec.name for spec in opening.signature.inputs)

    def call(tensors: Sequence[Any]) -> Any:
        try:
            return module(**dict(zip(names, tensors, strict=True)))
        except (AweighError, MemoryError, RecursionError):  # the last two are no fault of the request
            raise
        except Exception as error:  # boundary: a person's code may raise anything
            raise InvalidInput(f"forward failed: {type(error).__name__}: {str(error)[:_SAID]}") from error

    return handler_of(Program(kind="module", model=module, names=names, call=call, module=module), opening.signature)


def _made(factory: str, folder: Path) -> Any:
    """What the factory makes of the code in the folder, whatever else here is called alike. The folder stays a place of modules: forward may import more."""
    name, _, attribute = factory.partition(":")
    own = {place.stem for place in folder.iterdir()}
    for known in [each for each in sys.modules if each.partition(".")[0] in own]:
        del sys.modules[known]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    return getattr(importlib.import_module(name), attribute)()
