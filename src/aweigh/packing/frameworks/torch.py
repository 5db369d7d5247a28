"""PyTorch: live modules, exported programs, TorchScript, and weights with the class that takes them become proven ONNX, else a program that torch itself runs.

Found through `core/plugins.py`. `torch_load.py` judges and loads, `torch_inputs.py` finds out what is taken, `torch_modes.py` sees to inference, `torch_ways.py` writes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.core.versions import installed
from aweigh.packing.frameworks.network import Network, pack_network
from aweigh.packing.frameworks.torch_eager import eager_way
from aweigh.packing.frameworks.torch_inputs import Subject, described, example_rows, named_inputs, probed
from aweigh.packing.frameworks.torch_load import Loaded, built, load, located
from aweigh.packing.frameworks.torch_modes import check_steady, for_inference, inference, is_recurrent
from aweigh.packing.frameworks.torch_ways import ways
from aweigh.packing.job import Job, Packed
from aweigh.packing.recognise import Recognised
from aweigh.runtimes.torch_program import ask, exported_program, script_program

_LIBRARIES: Final = ("torch", "onnxscript", "onnx", "onnxruntime", "numpy", "safetensors")


class TorchFramework:
    """Packs modules and programs."""

    name = "torch"

    def accepts(self, model: object) -> bool:
        return isinstance(model, torch.nn.Module | torch.export.ExportedProgram)

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Loaded:
        return load(path, recognised, trust=trust)

    def network(self, job: Job) -> Network:
        """What the model takes and gives, and the ways to write it down. Raises where it cannot be asked, or answers by chance."""
        loaded = job.model if isinstance(job.model, Loaded) else Loaded(model=job.model)
        model, notes = built(loaded, job.factory)
        located(model)
        model, mended = for_inference(model)
        notes = [*loaded.notes, *notes, *mended]
        with inference(model):
            subject, signature, rows = _studied(model, job)
        check_steady(subject, [rows[name] for name in subject.names])
        names = [spec.name for spec in signature.inputs]
        recurrent = is_recurrent(model)
        notes += ["NaN is refused: ONNX Runtime's recurrent layers answer numbers where PyTorch answers NaN"] if recurrent else []

        def answer(tensors: Mapping[str, Tensor]) -> list[Tensor]:
            if recurrent and any(tensor.dtype.kind == "f" and np.isnan(tensor).any() for tensor in tensors.values()):
                raise InvalidInput("a recurrent model is not asked about NaN")
            with inference(subject.model):
                return [tensor for _, tensor in ask(subject.call, [tensors[name] for name in names])]

        kept = eager_way(model, job.factory, trusted=job.trust) if job.factory and subject.kind == "module" else None
        made = None if job.sample is not None else (lambda: rows)
        return Network(
            framework="torch",
            signature=signature,
            ask=answer,
            ways=ways(subject, signature, rows, job.source if not mended else None, kept, job.opset),
            source_class=_class_of(model),
            versions=installed(_LIBRARIES),
            notes=tuple(notes),
            made=made,
        )

    def pack(self, job: Job) -> Packed:
        return pack_network(job, self.network(job))


def _studied(model: Any, job: Job) -> tuple[Subject, Signature, dict[str, Tensor]]:
    """How the model is asked, what it takes and gives, and a few rows for tracing."""
    if isinstance(model, torch.export.ExportedProgram):
        program = exported_program(model)
        subject = Subject(model=model, kind="pt2", names=program.names, call=program.call)
        signature = described(model, program.names)
        return subject, signature, example_rows(model, signature)
    if job.sample is None:
        raise InvalidInput(
            "a PyTorch module does not say what it takes",
            hint="give --sample: an .npz with one array per parameter of forward, or one array",
        )
    job.progress("finding out which sizes the model takes")
    if isinstance(model, torch.jit.ScriptModule):
        program = script_program(model)
        subject = Subject(model=model, kind="torchscript", names=program.names, call=program.call)
    else:
        subject = Subject(model=model, kind="module", names=(), call=model)
    subject, rows = named_inputs(subject, job)
    return (subject, *probed(subject, rows))


def _class_of(model: Any) -> str:
    if isinstance(model, torch.jit.ScriptModule):
        return f"TorchScript {model.original_name}"
    return f"{type(model).__module__}.{type(model).__qualname__}"
