"""Quantisation-aware training by torchao (its "pt2e" way): export, round while learning, convert, write as ONNX. Needs torch, torchao, onnx."""

from pathlib import Path
from typing import Any, Final

import torch
from torchao.quantization.pt2e import allow_exported_model_train_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

from aweigh.core.errors import Unsupported
from aweigh.core.protocols import Progress
from aweigh.optimization.passing import PassJob
from aweigh.optimization.training.hook import Treatment
from aweigh.optimization.training.qdq_onnx import whole_biases
from aweigh.optimization.training.torch_qdq import table
from aweigh.optimization.training.torch_quantiser import OnnxQuantizer
from aweigh.optimization.training.torch_run import Trained, Training, calm, exported, write
from aweigh.optimization.training.torch_source import Live

_SAID: Final = 300
_NEAR: Final = 0.05
"""Runtimes round in another order, so that numbers on the border between two steps differ by one."""
_SETTLED: Final = 3
"""Epochs after which the ranges of activations stay as they are."""


class _Ranges(Treatment):
    """Ranges move for some epochs, then stay, so that weights can settle between them."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def epoch(self, done: int) -> None:
        if done == _SETTLED:
            for part in self._model.modules():
                if hasattr(part, "disable_observer"):
                    part.disable_observer()


def rounded(job: PassJob, live: Live, levels: int, progress: Progress) -> tuple[Path, Trained, int]:
    """The ONNX file, how training went, and how many layers compute in eight bits. Raises Unsupported where the module cannot be exported."""
    model = _prepared(job, live, levels)
    outcome = Training(job, live, progress).run(model, _Ranges(model))
    with calm(), torch.no_grad():
        model.eval()
        converted = convert_pt2e(model)
        allow_exported_model_train_eval(converted)
        file = write(job, live, exported(live, job.signature, converted), lambda: live.answers(converted), table=table(), near=_NEAR)
    return file, outcome, whole_biases(file)


def _prepared(job: PassJob, live: Live, levels: int) -> Any:
    """The module as a program that rounds as it goes, and learns."""
    live.module.train()
    try:
        program = exported(live, job.signature, live.module).module()
        with calm():
            model = prepare_qat_pt2e(program, OnnxQuantizer(levels))
    except Unsupported:
        raise
    except Exception as error:
        raise Unsupported(
            f"the module cannot be exported in training mode: {type(error).__name__}: {str(error).strip()[:_SAID]}"
        ) from error
    allow_exported_model_train_eval(model)
    return model
