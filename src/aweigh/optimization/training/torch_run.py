"""A person's training code run on a module, and the module written as ONNX. Needs torch and onnxruntime. Called by the passes that train with PyTorch."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
import torch

from aweigh.core.errors import InvalidInput
from aweigh.core.protocols import Progress, quiet
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.optimization.passing import PassJob
from aweigh.optimization.training.hook import NEAR, Callbacks, Treatment, called, data_of, named
from aweigh.optimization.training.torch_source import Live
from aweigh.optimization.training.written import check_written

OPSET: Final = 18
_SHARE: Final = 0.85
"""Of the pass's time that is for training; the rest is for reading and writing."""
_SEED: Final = 7
_AGAIN: Final = 3
"""Times that the code is run again where it ended before the model was in its form."""
_TRACED_ROWS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of training: the model, and how it went, in numbers and words."""

    model: Any
    best: float | None
    """The best metric that the training code told of; None where it told none."""
    told: str


class _State:
    """Keeps the weights of a module in memory."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._kept: dict[str, Any] = {}

    def keep(self) -> None:
        self._kept = {
            name: value.detach().clone() if isinstance(value, torch.Tensor) else value for name, value in self._module.state_dict().items()
        }

    def restore(self) -> None:
        self._module.load_state_dict(self._kept)


def trained(
    job: PassJob, live: Live, model: Any, treatment: Treatment, *, progress: Progress = quiet, what: str = "training", share: float = 1.0
) -> Trained:
    """Run `--train` on the model; `share` of the pass's time is for this. Raises what the code raised, as InvalidInput."""
    function = named("--train", job.train)
    data = data_of(function, live.rows)
    deadline = monotonic() + job.time_s * _SHARE * share
    callbacks = Callbacks(treatment=treatment, keeper=_State(model), deadline=deadline, own=own_loss, progress=progress, what=what)
    _seeded()
    model.train()
    returned = called(job.train, function, model, callbacks, data)
    for _ in range(_AGAIN):
        if treatment.settled or callbacks.stopped:
            break
        returned = called(job.train, function, model, callbacks, data)
    if returned is not None and not isinstance(returned, torch.nn.Module):
        raise InvalidInput(f"--train {job.train} returns a {type(returned).__name__}, no module", hint="return the model, or nothing")
    return Trained(model=model if returned is None else returned, best=callbacks.reached, told=callbacks.told())


def _seeded() -> None:
    """The same run twice gives the same model."""
    torch.manual_seed(_SEED)
    np.random.seed(_SEED)  # what the person's code may draw from
    random.seed(_SEED)


def own_loss(output: Any, target: Any) -> Any:
    """Cross-entropy for classes, the squared error for numbers."""
    if target.dtype in {torch.int64, torch.int32, torch.uint8, torch.int16} and output.dim() > 1:
        return torch.nn.functional.cross_entropy(output, target.long())
    return torch.nn.functional.mse_loss(output, target.to(output.dtype).reshape(output.shape))


def exported(live: Live, signature: Signature, model: Any) -> Any:
    """The model as a program whose open axes are those of the signature: as packing exports it."""
    arguments = dict(zip(live.names, live.tensors(_TRACED_ROWS), strict=True))
    axes = {
        name: {at: torch.export.Dim.AUTO for at, axis in enumerate(spec.shape) if isinstance(axis, str)}
        for name, spec in zip(live.names, signature.inputs, strict=True)
    }
    with calm():
        return torch.export.export(model, (), arguments, dynamic_shapes=axes, strict=False)


def write(
    job: PassJob,
    live: Live,
    program: Any,
    rows: Callable[[], list[Tensor]],
    *,
    opset: int = OPSET,
    table: dict[Any, Any] | None = None,
    near: float = NEAR,
) -> Path:
    """Write a program as ONNX under the signature's names, and ask it. Raises ProofFailed where the file answers otherwise than `rows`, the model's answers."""
    file = Path(job.folder) / "model.onnx"
    with calm():
        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=[spec.name for spec in job.signature.inputs],
            output_names=[spec.name for spec in job.signature.outputs],
            opset_version=opset,
            custom_translation_table=table,
            verbose=False,
        )
    made.save(str(file), external_data=False)
    check_written(job, file, live.rows.inputs, rows(), near)
    return file


def module_written(job: PassJob, live: Live, model: Any, *, opset: int = OPSET) -> Path:
    """A module in inference mode as ONNX."""
    model.eval()
    with torch.no_grad():
        program = exported(live, job.signature, model)
    return write(job, live, program, lambda: live.answers(model), opset=opset)


@contextmanager
def calm() -> Iterator[None]:
    """Without the many warnings of exporters: what is written is asked afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
