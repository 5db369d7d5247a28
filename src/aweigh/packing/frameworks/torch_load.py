"""Judges and loads PyTorch files: programs by `runtimes/torch_program.py`, weights as tensors alone, whole modules only when trusted. Called by `frameworks/torch.py`.

Runs inside an isolated child for a file. A class that takes the weights is the person's own code, named with --class.
"""

import dataclasses
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch

from aweigh.core.errors import InvalidFile, InvalidInput, Unsupported
from aweigh.packing.frameworks.torch_judge import not_trusted
from aweigh.packing.pickles import scan_pickle
from aweigh.packing.recognise import UNREADABLE_ZIP, Recognised
from aweigh.runtimes.torch_program import load_program, only_weights
from aweigh.runtimes.torch_weights import filled

_SAID: Final = 300


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a file held: a module or program, or the weights of one."""

    model: Any = None
    weights: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def load(path: Path, recognised: Recognised, *, trust: bool) -> Loaded:
    """Judge, then load. Raises NotTrusted, InvalidFile, Unsupported."""
    if recognised.format in {"pt2", "torchscript"}:
        return Loaded(model=load_program(path).model)
    if recognised.format == "safetensors":
        try:
            return Loaded(weights=safetensors.torch.load_file(path, device="cpu"))
        except (safetensors.SafetensorError, ValueError, KeyError, OSError, RuntimeError) as error:
            raise InvalidFile(f"{path.name}: not a readable safetensors file: {str(error)[:_SAID]}", hint="save it again") from error
    found = _unpickled(path, trust=trust)
    if isinstance(found, torch.nn.Module):
        return Loaded(model=found, notes=("a pickle that was trusted: a module by reference to its class",))
    if not isinstance(found, Mapping):
        raise Unsupported(f"{path.name} holds a {type(found).__name__}, not a module or its weights", hint="save module.state_dict()")
    return Loaded(weights=found)


def _unpickled(path: Path, *, trust: bool) -> Any:
    try:
        with only_weights():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust:
            raise not_trusted(path, _imports(path)) from error
    except (RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError, IndexError, OSError) as error:
        raise InvalidFile(f"{path.name}: not a readable PyTorch file: {str(error).strip()[:_SAID]}", hint="save it again") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle that a person trusts may raise anything
        raise InvalidFile(
            f"{path.name} cannot be loaded: {type(error).__name__}: {str(error)[:_SAID]}",
            hint="run where the module of its class can be imported",
        ) from error


def _imports(path: Path) -> list[str]:
    """What the pickle would import, for the message alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            place = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(place) as file:
                data = file.read(8 * 1024 * 1024)
    except (StopIteration, *UNREADABLE_ZIP):
        with path.open("rb") as file:
            data = file.read(8 * 1024 * 1024)
    scan = scan_pickle(data, whole=False)
    return list(scan.globals) if scan else []


def built(loaded: Loaded, factory: str) -> tuple[Any, list[str]]:
    """The model, its weights put into what the factory makes, and what was changed for that. Raises InvalidInput that names what does not fit."""
    if loaded.weights is None:
        return loaded.model, []
    return filled(loaded.weights, factory)


def located(model: Any) -> None:
    """Raise InvalidInput for a module that does not lie in plain memory."""
    state = model.state_dict() if callable(model.state_dict) else model.state_dict  # an exported program holds it as a plain dict
    tensors = list(state.values())
    place = next((tensor.device for tensor in tensors if isinstance(tensor, torch.Tensor) and tensor.device.type != "cpu"), None)
    if place is not None:
        raise InvalidInput(f"the model lies on {place}", hint="give model.cpu(): packing asks it on the processor")
