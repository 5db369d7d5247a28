"""The inputs of a model that does not say itself what it takes, as its sample shows them. Called by frameworks whose files hold no shapes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aweigh.core.errors import InvalidInput
from aweigh.core.signature import BATCH, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.packing.frameworks.onnx_sample import shaped_tensors
from aweigh.packing.job import Job
from aweigh.packing.sample import Sample, read_sample


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a sample shows of one input: the sizes behind the batch axis, and the datatype it came in."""

    name: str
    sizes: tuple[int, ...]
    datatype: Datatype
    whole: tuple[int, int] | None = None
    """The least and the greatest, of whole numbers."""


def shown_by_sample(job: Job, names: Sequence[str]) -> list[Shown]:
    """The model's inputs as the sample (through the `pre` hook) has them; `names` are the model's, none where it has no names of its own. Raises InvalidInput."""
    sample = read_sample(job.sample)
    if job.before is not None:
        sample = read_sample(job.before(shaped_tensors(None, sample)))
    if sample.form == "frame":
        return _of_frame(sample, names)
    given: dict[str, Tensor] = dict(sample.data) if sample.form == "tensors" else {names[0] if names else "input": sample.data}
    if names and sample.form != "tensors" and len(names) > 1:
        raise InvalidInput(
            f"the sample is one array, the model takes {', '.join(repr(name) for name in names)}",
            hint="give an .npz with one array per input",
        )
    missing = [name for name in names if name not in given]
    if missing:
        raise InvalidInput(f"the sample has no array '{missing[0]}'", hint=f"it has {', '.join(given)}")
    return [
        Shown(name=name, sizes=given[name].shape[1:], datatype=datatype_of(given[name]), whole=_range(given[name]))
        for name in names or given
    ]


def _of_frame(sample: Sample, names: Sequence[str]) -> list[Shown]:
    columns = [str(name) for name in sample.data.columns]
    if names and all(name in columns for name in names):
        return [Shown(name=name, sizes=(1,), datatype=_number(sample.data[name])) for name in names]
    if len(names) > 1:
        raise InvalidInput(f"the sample's columns ({', '.join(columns[:10])}) are not the model's inputs ({', '.join(names)})")
    kinds = {_number(sample.data[name]) for name in columns}
    datatype = next(iter(kinds)) if len(kinds) == 1 else Datatype.FP64
    return [Shown(name=names[0] if names else "input", sizes=(len(columns),), datatype=datatype)]


def _range(tensor: Tensor) -> tuple[int, int] | None:
    return (int(tensor.min()), int(tensor.max())) if tensor.dtype.kind in "iu" and tensor.size else None


def _number(column: Any) -> Datatype:
    dtype = column.dtype
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        raise InvalidInput(
            f"the sample's column '{column.name}' holds no numbers", hint="this model takes numbers: encode texts and categories first"
        )
    return datatype_of(np.zeros(0, dtype))


def as_batch(shown: Shown, datatype: Callable[[Shown], Datatype]) -> TensorSpec:
    """The input with a batch axis of any size in front, and the sizes of the sample behind it."""
    return TensorSpec(name=shown.name, datatype=datatype(shown), shape=(BATCH, *shown.sizes))
