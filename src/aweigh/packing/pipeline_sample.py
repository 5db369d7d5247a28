"""What a request to a pipeline holds, and the requests that it is proven with: from the sample, else from the golden sets of its parts.

Called by `pipeline`. What a model takes is known; what only functions take is told by `[inputs]` or by the sample.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.core.errors import InvalidInput
from aweigh.core.evidence import Strength
from aweigh.core.frames import tensors_of_columns
from aweigh.core.golden import GoldenAnswers, read_golden
from aweigh.core.pipeline_checks import fits
from aweigh.core.protocols import PackageHandle
from aweigh.core.signature import BATCH, Column, ColumnKind, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor, datatype_of
from aweigh.packing.pipeline_file import Definition

_ROWS: Final = 64
_MAX_CASES: Final = 24
Consumers = Sequence[tuple[PackageHandle, Mapping[str, str]]]
"""Parts, each with those of its inputs that come straight from the request, and what they are called there."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What a request holds (a signature without outputs), and requests to answer; the first case is the most usual one."""

    signature: Signature
    cases: list[GoldenAnswers]
    strength: Strength
    data: str


def requests_of(names: Sequence[str], definition: Definition, consumers: Consumers, sample: object) -> Requests:
    """Raises InvalidInput where it cannot be told what a tensor of the request is, or where parts do not agree on it."""
    if not names:
        raise InvalidInput("no step takes anything of the request", hint="inputs = … names tensors of the request or of other steps")
    specs = {name: spec for name in names if (spec := _spec(name, definition, consumers)) is not None}
    unknown = [name for name in names if name not in specs]
    columns = _columns(specs, consumers)
    if sample is not None:
        tensors = _sampled(sample, list(names), specs, columns)
        specs |= {name: _spec_of(name, tensors[name]) for name in unknown}
        cases, strength, data = _from_rows(tensors, "rows of the sample"), Strength.FULL, "the sample that was given"
    elif unknown:
        raise InvalidInput(
            f"what the request's '{unknown[0]}' is cannot be told: only functions take it",
            hint=f'give --sample, or say it: [inputs] {unknown[0]} = {{ datatype = "FP64", shape = ["batch", 1] }}',
        )
    else:
        cases, strength, data = _from_parts(list(names), specs, consumers)
    known = columns | {name: [_own(specs[name])] for name in names if name not in columns and _is_column(specs[name])}
    listed = [column for name in names for column in known.get(name, [])]
    plain = len(known) == len(names) and len({column.name for column in listed}) == len(listed)
    signature = Signature(inputs=tuple(specs[name] for name in names), outputs=(), columns=tuple(listed) if plain and columns else ())
    return Requests(signature=signature, cases=cases, strength=strength, data=data)


def _spec(name: str, definition: Definition, consumers: Consumers) -> TensorSpec | None:
    """What `[inputs]` or the parts that take it say; it must be what all of them take."""
    wanted = [
        (str(handle.reference), handle.manifest.signature.input(tensor))
        for handle, taken in consumers
        for tensor, called in taken.items()
        if called == name
    ]
    said = definition.inputs.get(name)
    if said is not None:
        if not said.shape or said.shape[0] != BATCH:
            raise InvalidInput(f"[inputs] {name}: the shape {said.shape} does not begin with '{BATCH}'")
        wanted.insert(0, ("[inputs]", TensorSpec(name=name, datatype=said.datatype, shape=tuple(said.shape))))
    if not wanted:
        return None
    whose, first = wanted[0]
    for other, spec in wanted[1:]:
        if spec.datatype is not first.datatype or not fits(spec.shape, first.shape):
            raise InvalidInput(
                f"the request's '{name}' would be {first.datatype.value} {list(first.shape)} for {whose} and {spec.datatype.value} "
                f"{list(spec.shape)} for {other}",
                hint="feed one of them through a function, or from a tensor of another name",
            )
    shape = next((spec.shape for _, spec in wanted if all(isinstance(axis, int) for axis in spec.shape[1:])), first.shape)
    return TensorSpec(
        name=name,
        datatype=first.datatype,
        shape=shape,
        takes_missing=all(spec.takes_missing for _, spec in wanted),
        takes_infinite=all(spec.takes_infinite for _, spec in wanted),
        refuses_missing_at=tuple(sorted({at for _, spec in wanted for at in spec.refuses_missing_at})),
        refuses_infinite_at=tuple(sorted({at for _, spec in wanted for at in spec.refuses_infinite_at})),
    )


def _columns(specs: Mapping[str, TensorSpec], consumers: Consumers) -> dict[str, list[Column]]:
    """The columns of a frame that feed an input, where the first part that takes it has some."""
    found: dict[str, list[Column]] = {}
    for handle, taken in consumers:
        for tensor, called in taken.items():
            mine = [column for column in handle.manifest.signature.columns if column.input == tensor]
            if mine and called in specs and called not in found:
                found[called] = [msgspec.structs.replace(column, input=called) for column in mine]
    return found


def _sampled(sample: object, names: list[str], specs: Mapping[str, TensorSpec], columns: Mapping[str, list[Column]]) -> dict[str, Tensor]:
    """The sample as tensors of a request."""
    from aweigh.packing.sample import column_tensor, read_sample  # pandas: 0.3 s that a pipeline without a sample need not cost

    read = read_sample(sample)
    if read.form == "tensors" or (read.form != "frame" and len(names) == 1):
        given: Mapping[str, Any] = read.data if read.form == "tensors" else {names[0]: read.data}
    elif read.form == "frame":
        given = {}
        for name in names:
            if name in columns:
                wanted = Signature(inputs=(specs[name],), outputs=(), columns=tuple(columns[name]))
                _check_there([column.name for column in columns[name]], read.data.columns)
                given |= tensors_of_columns({column.name: read.data[column.name].tolist() for column in columns[name]}, wanted)
            else:
                _check_there([name], read.data.columns)
                given[name] = column_tensor(read.data[name], name).reshape(-1, 1)
    else:
        raise InvalidInput(
            f"the sample is one array, and a request holds {', '.join(names)}", hint="give .npz with these names, or a frame"
        )
    missing = [name for name in names if name not in given]
    if missing:
        raise InvalidInput(f"the sample has no '{missing[0]}'", hint=f"a request holds {', '.join(names)}")
    return {name: _cast(name, np.asarray(given[name]), specs.get(name)) for name in names}


def _check_there(wanted: list[str], there: Any) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InvalidInput(f"the sample has no column '{missing[0]}'", hint=f"it has {', '.join(map(str, list(there)[:12]))}")


def _cast(name: str, whole: Any, spec: TensorSpec | None) -> Tensor:
    """The first rows, as the spec has them. Raises InvalidInput for what cannot be."""
    if not whole.ndim:
        raise InvalidInput(f"the sample's '{name}' is one value", hint="give rows")
    array = whole[:_ROWS]
    if spec is None:
        found: Tensor = array.astype(object) if array.dtype.kind in "UST" else array
        return found
    try:
        shaped = array.reshape(len(array), *spec.shape[1:]) if all(isinstance(axis, int) for axis in spec.shape[1:]) else array
        cast: Tensor = np.ascontiguousarray(shaped, dtype=spec.datatype.dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(
            f"the sample's '{name}', {array.dtype} {list(whole.shape)}, does not become {spec.datatype.value} {spec.wire_shape}: {error}",
            hint="give rows as the step takes them",
        ) from error
    return cast


def _spec_of(name: str, tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype_of(tensor), shape=(BATCH, *map(int, tensor.shape[1:])))


def _from_rows(tensors: Mapping[str, Tensor], why: str) -> list[GoldenAnswers]:
    one = {name: tensor[:1] for name, tensor in tensors.items()}
    return [
        GoldenAnswers(name="sample", why=why, inputs=dict(tensors), outputs=[]),
        GoldenAnswers(name="single", why="a batch of one", inputs=one, outputs=[]),
    ]


def _from_parts(names: list[str], specs: Mapping[str, TensorSpec], consumers: Consumers) -> tuple[list[GoldenAnswers], Strength, str]:
    """A part that is fed by the request alone, and takes all of it, has a golden set that asks the pipeline too: edge inputs are among it."""
    for handle, taken in consumers:
        inputs = {spec.name for spec in handle.manifest.signature.inputs}
        if set(taken) == inputs and set(taken.values()) == set(names):
            cases = [_renamed(case, taken) for case in read_golden(handle.manifest, handle.path)[:_MAX_CASES]]
            evidence = next((each.evidence for each in handle.manifest.variants if each.evidence and each.evidence.passed), None)
            if cases:
                return cases, evidence.strength if evidence else Strength.WEAK, f"the golden set of {handle.reference}"
    rows = {name: _rows_of(name, specs[name], consumers) for name in names}
    count = min(len(tensor) for tensor in rows.values())
    return (
        _from_rows({name: tensor[:count] for name, tensor in rows.items()}, "rows of the parts' samples"),
        Strength.WEAK,
        "the golden sets of its parts",
    )


def _renamed(case: GoldenAnswers, taken: Mapping[str, str]) -> GoldenAnswers:
    return dataclasses.replace(case, inputs={taken[tensor]: array for tensor, array in case.inputs.items()}, outputs=[])


def _rows_of(name: str, spec: TensorSpec, consumers: Consumers) -> Tensor:
    for handle, taken in consumers:
        for tensor, called in taken.items():
            if called == name:
                for case in read_golden(handle.manifest, handle.path)[:1]:
                    return case.inputs[tensor][:_ROWS]
    if not all(isinstance(axis, int) for axis in spec.shape[1:]):
        raise InvalidInput(f"the request's '{name}' has no example", hint="give --sample")
    shape = (_ROWS, *(int(axis) for axis in spec.shape[1:]))
    if spec.datatype is Datatype.BYTES:
        return np.full(shape, "a", dtype=object)
    made: Tensor = np.random.default_rng(0).integers(0, 2, shape).astype(spec.datatype.dtype)
    return made


def _is_column(spec: TensorSpec) -> bool:
    return spec.shape[1:] in ((), (1,))


def _own(spec: TensorSpec) -> Column:
    kind = ColumnKind.NUMBER
    if spec.datatype is Datatype.BYTES:
        kind = ColumnKind.TEXT
    elif spec.datatype is Datatype.BOOL:
        kind = ColumnKind.BOOLEAN
    elif spec.datatype.is_integer:
        kind = ColumnKind.INTEGER
    return Column(
        name=spec.name, kind=kind, input=spec.name, nullable=spec.takes_missing and (spec.datatype.is_float or kind is ColumnKind.TEXT)
    )
