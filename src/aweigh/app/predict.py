"""Answering in process: a loaded package over columns, frames and small files. Used by `aweigh predict` and by `aweigh.load`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aweigh.app.models import model_to_load
from aweigh.app.tables import read_columns, write_columns
from aweigh.core.errors import AweighError, InternalError
from aweigh.core.frames import columns_of_outputs, columns_of_rows, frame_columns, tensors_of_columns
from aweigh.core.settings import Settings
from aweigh.core.tensors import Tensor
from aweigh.engine.lifecycle import load_model
from aweigh.engine.model import LoadedModel

CHUNK_ROWS = 4096


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer columns by name, in the order of the signature."""

    model: str
    """Name and version."""
    columns: dict[str, list[Any]]


def predict_file(settings: Settings, model: str, source: str, *, out: str | None, variant: str = "") -> Answer:
    """Answer a file with the model that `model` names, and write the answers to `out`, if given."""
    loaded = load_model(model_to_load(settings, model, variant=variant), settings, variant=variant, purpose="batch")
    try:
        answer = predict_columns(loaded, read_columns(Path(source), loaded.signature))
    finally:
        loaded.close()
    if out is not None:
        write_columns(Path(out), answer.columns)
    return answer


def predict_columns(model: LoadedModel, columns: Mapping[str, Sequence[Any]]) -> Answer:
    """Answer a frame given as columns, in chunks. Raises InvalidInput naming column and row."""
    known = {column.name for column in frame_columns(model.signature)}
    used = {name: values for name, values in columns.items() if name in known} if known <= set(columns) else dict(columns)
    tensors = tensors_of_columns(used, model.signature)
    return Answer(model=f"{model.name}:{model.version}", columns=columns_of_outputs(model.signature, predict_tensors(model, tensors)))


def predict_rows(model: LoadedModel, rows: Sequence[Mapping[str, Any]]) -> Answer:
    """Answer rows of named columns. Raises InvalidInput naming column and row."""
    tensors = tensors_of_columns(columns_of_rows(rows, model.signature), model.signature)
    return Answer(model=f"{model.name}:{model.version}", columns=columns_of_outputs(model.signature, predict_tensors(model, tensors)))


def predict_tensors(model: LoadedModel, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Answer tensors, in chunks of rows where the package's evidence says that batches change nothing."""
    signature = model.signature
    signature.check(tensors)
    signature.check_finite(tensors)
    rows = signature.batch_size(tensors)
    evidence = model.variant.evidence
    if not signature.batched or rows <= CHUNK_ROWS or evidence is None or not evidence.batch_invariant:
        return _run(model, tensors)
    parts = [_run(model, {name: tensor[at : at + CHUNK_ROWS] for name, tensor in tensors.items()}) for at in range(0, rows, CHUNK_ROWS)]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _run(model: LoadedModel, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    try:
        return model.run(tensors)
    except AweighError:
        raise
    except Exception as error:  # the boundary to whatever the session is
        raise InternalError(f"the model failed: {type(error).__name__}: {error}") from error
