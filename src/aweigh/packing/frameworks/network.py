"""What all frameworks of networks share: rows for the golden set, the signature as the source really answers, and the ways to a proven variant.

A framework's file says what its model takes, how it is asked, and in which ways it can be written down (`Network`); `pack_network` does the rest.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from aweigh.core.errors import AweighError, InvalidInput, ProofFailed
from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.signature import BATCH, Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.packing.cause import Cause, Inside, graph_cause, less_optimised
from aweigh.packing.edges import MODEL_FAILS, GoldenSet, case_of, first_answer, make_golden, make_static_golden, without_missing
from aweigh.packing.frameworks.onnx_sample import made_tensors, shaped_tensors
from aweigh.packing.frameworks.onnx_signature import with_roles
from aweigh.packing.job import Job, Packed
from aweigh.packing.onnx_wire import opset
from aweigh.packing.refused import Asker
from aweigh.packing.sample import read_sample
from aweigh.packing.words import why_failed

_SAID: Final = 300
_SIZED_ROWS: Final = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to write a network down so that a runtime can run it. `write` makes the files in a folder and gives them by package path, the entry first; it may raise
    anything, which is then why this way was not taken."""

    name: str
    write: Callable[[Path], Mapping[str, Path]]
    variant: Variant
    """Without files and evidence, which come from `write` and the proof."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """What `write` found worth telling, for the evidence."""
    without_missing: bool = False
    """Prove it on the rows without a NaN, which the package then refuses: for a form that answers those otherwise than the source,."""
    inside: Inside | None = None
    """What the source holds inside, for the cause where a graph answers otherwise."""
    also: str = ""
    """The word of `--also` by which a person keeps this form, whichever passed before it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A loaded model as its framework tells it. `ask` answers named tensors, one tensor per output of `signature`, in the framework itself."""

    framework: str
    signature: Signature
    ask: Asker
    ways: Sequence[Way]
    source_class: str
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    """What was found and mended before, for the evidence: 'dropout was on: switched to inference'."""
    made: Callable[[], Mapping[str, Tensor]] | None = None
    """Rows for a model that comes without a sample; None makes them from the signature."""
    keep_all: bool = False
    """Keep every way that passes, not the first alone."""
    contains_pickle: bool = False
    edges: Sequence[tuple[str, str, Mapping[str, Tensor]]] = ()
    """Further edge rows for the golden set, as cases: name, why, rows. Those that the source refuses are left out."""
    pickled: bool = False
    """Whether the source was a pickle, though the package holds none."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The sample as the person gave it and as the model takes it, and what the proof is worth with it."""

    given: Mapping[str, Tensor]
    model: dict[str, Tensor]
    strength: Strength
    data: str
    given_rows: int = 0
    """As of `Sample`: how many there were, where these are the first."""


def pack_network(job: Job, network: Network) -> Packed:
    """Ask the source, then take the first way (or all) that answers as it does. Raises ProofFailed that tells what each way did."""
    job.progress("reading the sample")
    rows = read_rows(network.signature, job, network.made)
    job.progress(f"asking the source model: {network.framework}")
    signature = learned(network.signature, network.ask, rows.model)
    golden = golden_of(signature, rows.model, network.ask)
    edges = [case for name, why, odd in network.edges for case in case_of(name, why, odd, network.ask)]
    golden = dataclasses.replace(golden, stored=(*golden.stored, *edges, *other_sizes(golden.signature, rows.model, network.ask)))
    tried = list(network.notes)
    kept: list[Variant] = []
    files: dict[str, Path] = {}
    whole = golden
    for at, way in enumerate(network.ways):
        if kept and not network.keep_all and way.also not in {*job.also} - {each.name for each in kept}:
            continue
        narrowed = golden if kept else without_missing(whole) if way.without_missing else whole
        if narrowed is None:
            continue
        golden = narrowed
        folder = job.work / f"way-{at}"
        folder.mkdir()
        found = _attempt(job, way, golden, _Told(rows=rows, framework=network.framework, tried=tried), folder)
        if found is None:
            continue
        taken = any(each.name == found[0].name for each in kept)
        kept.append(msgspec.structs.replace(found[0], name=way.also) if taken and way.also else found[0])
        files |= found[1]
    if not kept:
        raise ProofFailed(
            f"no form of the model answers as it does itself: {'; '.join(tried)}",
            hint="the model may answer by chance or keep state between calls; what each way did is said above",
        )
    return Packed(
        signature=golden.signature,
        variants=tuple(kept),
        files=files,
        golden=golden.stored,
        generated=golden.generated,
        ask=network.ask,
        framework=network.framework,
        source_class=network.source_class,
        versions=network.versions,
        request_sample=rows.given,
        contains_pickle=network.contains_pickle,
        pickled=network.pickled,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the evidence of every way says: on which rows, by whose answers, and what was tried before."""

    rows: Rows
    framework: str
    tried: list[str]


def _attempt(job: Job, way: Way, golden: GoldenSet, told: _Told, folder: Path) -> tuple[Variant, dict[str, Path]] | None:
    """The proven variant of a way and its files; None where it did not come about, which `told.tried` then says."""
    job.progress(f"converting: {way.name}")
    cases = (*golden.stored, *golden.generated)
    data = f"{told.rows.data}; answers by {told.framework}"
    try:
        written = dict(way.write(folder))
        variant = msgspec.structs.replace(way.variant, files=tuple(written))
        job.progress(f"proving: {way.name}")
        prove = partial(
            job.prove, signature=golden.signature, golden=cases, path=written.__getitem__, strength=told.rows.strength, data=data
        )
        evidence = prove(variant)
        if not evidence.passed:
            cause = _cause(way, variant, golden, written, evidence)
            told.tried.append(f"{way.name}: {why_failed(evidence)}{cause}")
            tries = less_optimised(variant, cause, prove)
            variant, evidence = tries[-1] if tries else (variant, evidence)
    except AweighError as error:
        told.tried.append(f"{way.name}: {error.message[:_SAID]}")
        return None
    except Exception as error:  # noqa: BLE001  # converters raise anything; the next way is the answer to it
        told.tried.append(f"{way.name}: {type(error).__name__}: {str(error)[:_SAID]}")
        return None
    if not evidence.passed:
        return None
    level = variant.options.get("graph_optimization_level")
    written_as = opset(written[variant.files[0]]) if variant.runtime == "onnxruntime" else 0
    said = [f"with opset {written_as}"] if written_as else []
    said += [f"ONNX Runtime's optimisations {level}"] if level else []
    told.tried.extend([*(f"{way.name}: {note}" for note in way.notes), ", ".join([f"{way.name}: passed", *said])])
    return msgspec.structs.replace(variant, evidence=msgspec.structs.replace(evidence, repairs=tuple(told.tried))), written


def _cause(way: Way, variant: Variant, golden: GoldenSet, written: Mapping[str, Path], evidence: Evidence) -> Cause:
    """Where an ONNX graph parts from its source; other forms have no inside to look at."""
    entry = written[variant.files[0]]
    if entry.suffix != ".onnx" or variant.step is not None:
        return Cause()
    return graph_cause(entry, variant, golden.signature, (*golden.stored, *golden.generated), evidence, way.inside)


def read_rows(signature: Signature, job: Job, made: Callable[[], Mapping[str, Tensor]] | None = None) -> Rows:
    """The job's sample, through its `pre` hook where it has one, else rows that are made up."""
    if job.sample is None:
        rows = dict(made() if made is not None else made_tensors(signature))
        return Rows(given=rows, model=rows, strength=Strength.WEAK, data="rows made from the signature: no sample was given")
    sample = read_sample(job.sample)
    data = f"{sample.rows} rows of {sample.source} and edge rows"
    if job.before is None:
        shaped = shaped_tensors(signature, sample)
        return Rows(given=shaped, model=shaped, strength=Strength.FULL, data=data, given_rows=sample.given_rows)
    given = shaped_tensors(None, sample)
    before = read_sample(job.before(given))
    return Rows(given=given, model=shaped_tensors(signature, before), strength=Strength.FULL, data=data, given_rows=sample.given_rows)


def learned(signature: Signature, ask: Asker, rows: Mapping[str, Tensor]) -> Signature:
    """The signature with output ranks and batch axes as the model really answers. Raises InvalidInput for rows that it does not take."""
    batched = all(spec.shape and spec.shape[0] == BATCH for spec in signature.inputs)
    try:
        one = first_answer({name: tensor[:1] for name, tensor in rows.items()} if batched else _static(signature, rows)[0], ask)
        two = first_answer({name: tensor[:2] for name, tensor in rows.items()}, ask) if batched and _count(rows) > 1 else one
    except AweighError as error:
        raise InvalidInput(
            f"{MODEL_FAILS}{error.message.removeprefix(MODEL_FAILS)}", hint="give a sample as the model takes it, for example an .npz"
        ) from error
    outputs = tuple(
        _output(spec, a, b, batched=batched and _count(rows) > 1) for spec, a, b in zip(signature.outputs, one, two, strict=True)
    )
    named = with_roles(signature.inputs, outputs, signature.labels)
    return msgspec.structs.replace(named, columns=signature.columns, labels=named.labels or signature.labels)


def _output(spec: TensorSpec, one: Tensor, two: Tensor, *, batched: bool) -> TensorSpec:
    if len(spec.shape) == one.ndim:
        axes = list(spec.shape)
    else:
        axes = [
            int(size) if size == other else f"{spec.name}_axis{at}"
            for at, (size, other) in enumerate(zip(one.shape, two.shape, strict=True))
        ]
    if batched and axes and isinstance(axes[0], str):
        axes[0] = BATCH if one.shape[0] == 1 and two.shape[0] == 2 else f"{spec.name}_axis0"
    return TensorSpec(name=spec.name, datatype=spec.datatype, shape=tuple(axes), role=spec.role)


def golden_of(signature: Signature, rows: Mapping[str, Tensor], ask: Asker) -> GoldenSet:
    """The golden set, of batches where the signature has them."""
    if signature.batched:
        golden = make_golden(signature, rows, ask)
        kept = tuple(
            msgspec.structs.replace(spec, takes_missing=spec.takes_missing and spec.datatype is not Datatype.BYTES)
            for spec in golden.signature.inputs
        )
        return dataclasses.replace(golden, signature=msgspec.structs.replace(golden.signature, inputs=kept))
    return make_static_golden(signature, _static(signature, rows), ask)


def other_sizes(signature: Signature, rows: Mapping[str, Tensor], ask: Asker) -> tuple[GoldenAnswers, ...]:
    """Cases with other sizes of the axes that are open beside the batch: what was traced at one size may hold for that alone."""
    few = {name: tensor[:_SIZED_ROWS] for name, tensor in rows.items()} if signature.batched else _static(signature, rows)[0]
    open_axes: dict[str, list[tuple[str, int]]] = {}
    for spec in signature.inputs:
        for at, axis in enumerate(spec.shape):
            if isinstance(axis, str) and axis != BATCH:
                open_axes.setdefault(axis, []).append((spec.name, at))
    found: list[GoldenAnswers] = []
    for axis, places in open_axes.items():
        size = few[places[0][0]].shape[places[0][1]]
        for other in sorted({1, (size + 1) // 2, size + 1} - {size}):
            inputs = dict(few)
            for name, at in places:
                inputs[name] = np.ascontiguousarray(np.take(inputs[name], np.minimum(np.arange(other), size - 1), axis=at))
            try:
                answers = ask(inputs)
            except Exception:  # noqa: BLE001, S112  # foreign code: a size that the source refuses is no case
                continue
            found.append(GoldenAnswers(name=f"size-{len(found)}", why=f"{other} on axis '{axis}'", inputs=inputs, outputs=answers))
    return tuple(found)


def _static(signature: Signature, rows: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Single requests of a model whose first axis is fixed: the sample itself, or its items where it has one axis more or more rows."""
    first = signature.inputs[0]
    tensor = rows[first.name]
    if tensor.ndim == len(first.shape) + 1:
        return [{name: item[at] for name, item in rows.items()} for at in range(min(16, len(tensor)))]
    size = first.shape[0] if first.shape else None
    if isinstance(size, int) and tensor.ndim and len(tensor) > size:
        return [{name: item[at : at + size] for name, item in rows.items()} for at in range(0, min(16, len(tensor) // size) * size, size)]
    return [dict(rows)]


def _count(rows: Mapping[str, Tensor]) -> int:
    return min((len(tensor) for tensor in rows.values() if tensor.ndim), default=1)
