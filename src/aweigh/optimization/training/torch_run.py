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
from aweigh.optimization.training.torch_returned import take_over
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
    """How training went, in numbers and words."""

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


class Training:
    """The code that `--train` names, its data, loaded once, and the time that all its runs have together, which loading counts against. Raises InvalidInput, MissingLibrary."""

    def __init__(self, job: PassJob, live: Live, progress: Progress = quiet) -> None:
        self._deadline = monotonic() + job.time_s * _SHARE
        self._text, self._live, self._progress = job.train, live, progress
        self._function = named("--train", job.train)
        self._data = data_of(self._function, live.rows)

    @property
    def left_s(self) -> float:
        """Seconds until the time is over."""
        return max(0.0, self._deadline - monotonic())

    def run(self, model: Any, treatment: Treatment, *, what: str = "training", seconds: float | None = None) -> Trained:
        """Train the model, for so long at most; None: what is left. It is trained in place, whatever the code returns. Raises what the code raised, as InvalidInput."""
        deadline = self._deadline if seconds is None else min(self._deadline, monotonic() + seconds)
        callbacks = Callbacks(
            treatment=treatment, keeper=_State(model), deadline=deadline, own=own_loss, progress=self._progress, what=what
        )
        before = dict(model.named_parameters())
        _seeded()
        model.train()
        returned = called(self._text, self._function, model, callbacks, self._data)
        for _ in range(_AGAIN):
            if treatment.settled or callbacks.stopped:
                break
            returned = called(self._text, self._function, model, callbacks, self._data)
        after = dict(model.named_parameters())
        if any(after.get(name) is not parameter for name, parameter in before.items()):
            raise InvalidInput(
                f"--train {self._text} puts other parameters in the place of the model's own",
                hint="train the parameters that the model has when your code is called",
            )
        if returned is not None and returned is not model:
            take_over(self._text, self._live, model, returned)
        return Trained(best=callbacks.reached, told=callbacks.told())


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
