"""Puts a declared step of images or sounds around a packed model: its signature, golden set and proof become those of files. Called by `assemble`.

The source model itself answers the files, read as the step says: what is proven is the whole road from a file to an answer.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from aweigh.core.arrays import UNNAMED
from aweigh.core.errors import AweighError, InvalidInput, ProofFailed, Unsupported
from aweigh.core.evidence import Evidence, Strength
from aweigh.core.golden import GoldenAnswers
from aweigh.core.protocols import Progress, Prover
from aweigh.core.signature import BATCH, Axis, Column, ColumnKind, Signature, Task, TensorSpec
from aweigh.core.steps import BoxesAnswer, ImageStep, LabelAnswer, MediaStep
from aweigh.core.tensors import Datatype, Tensor, Tensors, datatype_of
from aweigh.packing.edges import CASE_BYTES
from aweigh.packing.job import Packed
from aweigh.packing.media import Plan
from aweigh.packing.media_sample import edge_files, made_files, read_files
from aweigh.packing.refused import Asker
from aweigh.packing.sample import Sample
from aweigh.packing.words import why_failed
from aweigh.runtimes.media import MediaSession, Reader
from aweigh.runtimes.media_answers import BOXES_OUTPUTS

_MOST_ROWS: Final = 64


def reader_of(step: MediaStep) -> Reader:
    """What reads a file as the step says."""
    if isinstance(step, ImageStep):
        from aweigh.runtimes import images  # its library is there where images are packed alone

        return images.reader(step)
    from aweigh.runtimes import sounds

    return sounds.reader(step)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A plan with the files to prove it on."""

    plan: Plan
    files: Sample
    strength: Strength

    def before(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Files as the model takes them: what frameworks are given for a sample."""
        read = reader_of(self.plan.step)
        found = [read(item).tensor for item in rows[self.plan.step.input].ravel().tolist()]
        if len({tensor.shape for tensor in found}) > 1:
            longest = min(tensor.shape for tensor in found)
            found = [tensor[tuple(slice(0, size) for size in longest)] for tensor in found]
        return {UNNAMED: np.stack(found)}


def media_of(plan: Plan, sample: object) -> Media:
    """The plan with the person's files, or with such as are made up. Raises InvalidFile for a step that cannot be, and what reading the files raises."""
    reader_of(plan.step)
    if sample is None:
        return Media(plan=plan, files=made_files(plan.step), strength=Strength.WEAK)
    return Media(plan=plan, files=read_files(sample, plan.step), strength=Strength.FULL)


def with_media(packed: Packed, media: Media, prove: Prover, progress: Progress) -> Packed:
    """The package as its clients see it, every variant proven from files to answers. Raises Unsupported, InvalidInput, ProofFailed."""
    inner = packed.signature
    _check_input(inner, media.plan.step)
    step = media.plan.around(inner)
    session = MediaSession(_Source(packed.ask), step, _outer(inner, media.plan), reader_of(step), step.answer)
    rows = _rows(media.files.data[step.input])
    answers = session.run({step.input: rows})
    signature = _sized(_outer(inner, media.plan), answers)
    golden = _golden(step, rows, answers, session.run)
    progress("proving: from files to answers")
    data = f"{len(rows)} {step.kind}s: {media.files.source}; and edge cases; answers by the source model"
    variants = []
    for variant in packed.variants:
        whole = msgspec.structs.replace(variant, step=step)
        evidence = prove(whole, signature, golden, packed.files.__getitem__, strength=media.strength, data=data)
        if not evidence.passed:
            raise ProofFailed(
                f"variant '{variant.name}' answers tensors as the source does, and not {step.kind}s: {why_failed(evidence)}",
                hint=f"give {step.kind}s like those to come with --sample; a threshold may lie where the model is undecided",
            )
        variants.append(msgspec.structs.replace(whole, evidence=_told(evidence, variant.evidence)))
    return dataclasses.replace(
        packed, signature=signature, variants=tuple(variants), golden=golden, generated=(), ask=session.run,
        request_sample={step.input: rows}, metrics={},
    )  # fmt: skip


class _Source:
    """The source model as a session, so that the code which serves asks it too."""

    concurrent = False
    isolated = False

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def run(self, inputs: Tensors) -> list[Tensor]:
        return self._ask(inputs)

    def close(self) -> None:
        """Nothing to close."""


def _check_input(inner: Signature, step: MediaStep) -> None:
    spec = inner.inputs[0]
    if len(inner.inputs) != 1 or spec.datatype in {Datatype.BYTES, Datatype.BOOL}:
        named = ", ".join(f"'{one.name}' {one.datatype.value}" for one in inner.inputs)
        raise Unsupported(f"a model that takes {named} cannot be asked with {step.kind}s", hint="one input of numbers can")


def _outer(inner: Signature, plan: Plan) -> Signature:
    """What the package takes and gives, as far as it is known before the source was asked."""
    step = plan.step
    kind = ColumnKind.IMAGE if isinstance(step, ImageStep) else ColumnKind.SOUND
    taken = TensorSpec(name=step.input, datatype=Datatype.BYTES, shape=(BATCH, 1), takes_missing=False)
    columns = (Column(name=step.input, kind=kind, input=step.input),)
    if isinstance(plan.answer, BoxesAnswer):
        return Signature(inputs=(taken,), outputs=_boxes(plan.answer.most), task=Task.DETECTION, columns=columns, labels=plan.labels)
    if isinstance(plan.answer, LabelAnswer):
        return Signature(
            inputs=(taken,), outputs=_labels(inner, plan), task=Task.CLASSIFICATION, columns=columns, labels=plan.labels
        )  # fmt: skip
    outputs = tuple(spec if _first(spec) == BATCH else msgspec.structs.replace(spec, shape=_behind(spec)) for spec in inner.outputs)
    return Signature(inputs=(taken,), outputs=outputs, task=inner.task, columns=columns, labels=inner.labels)


def _boxes(most: int) -> tuple[TensorSpec, ...]:
    shapes: tuple[tuple[Datatype, tuple[Axis, ...]], ...] = (
        (Datatype.FP32, (BATCH, most, 4)),
        (Datatype.FP32, (BATCH, most)),
        (Datatype.INT64, (BATCH, most)),
        (Datatype.INT64, (BATCH,)),
    )
    return tuple(TensorSpec(name=name, datatype=of, shape=shape) for name, (of, shape) in zip(BOXES_OUTPUTS, shapes, strict=True))


def _labels(inner: Signature, plan: Plan) -> tuple[TensorSpec, ...]:
    size = inner.outputs[0].shape[-1] if inner.outputs[0].shape else None
    if len(inner.outputs) != 1 or not inner.outputs[0].datatype.is_float or (isinstance(size, int) and size != len(plan.labels)):
        given = ", ".join(f"'{spec.name}' {spec.wire_shape}" for spec in inner.outputs)
        raise InvalidInput(
            f"--answer names {len(plan.labels)} labels, and the model gives {given}", hint="one number for each label is needed"
        )
    chances = TensorSpec(name="probabilities", datatype=Datatype.FP32, shape=(BATCH, len(plan.labels)), role="probability")
    return TensorSpec(name="label", datatype=Datatype.BYTES, shape=(BATCH,), role="label"), chances


def _first(spec: TensorSpec) -> Axis | None:
    return spec.shape[0] if spec.shape else None


def _behind(spec: TensorSpec) -> tuple[Axis, ...]:
    """The shape with a batch axis: in the place of a first axis of 1, else before all."""
    return (BATCH, *spec.shape[1:]) if _first(spec) == 1 else (BATCH, *spec.shape)


def _sized(signature: Signature, answers: list[Tensor]) -> Signature:
    """The signature with ranks as the source really answers. Raises Unsupported for outputs that are not one a file."""
    outputs = []
    for spec, answer in zip(signature.outputs, answers, strict=True):
        fits = len(spec.shape) == answer.ndim
        shape = spec.shape if fits else (BATCH, *(f"{spec.name}_axis{at}" for at in range(1, answer.ndim)))
        outputs.append(
            msgspec.structs.replace(spec, shape=shape, datatype=spec.datatype if spec.datatype.is_float else datatype_of(answer))
        )
    return msgspec.structs.replace(signature, outputs=tuple(outputs))


def _rows(files: Tensor) -> Tensor:
    """So many files as a golden case should hold."""
    sizes = np.cumsum([len(item) for item in files.ravel().tolist()])
    fit = int(np.searchsorted(sizes, CASE_BYTES, side="right"))
    return files[: max(1, min(_MOST_ROWS, fit))]


def _golden(step: MediaStep, rows: Tensor, answers: list[Tensor], ask: Asker) -> tuple[GoldenAnswers, ...]:
    name = step.input
    cases = [GoldenAnswers(name="sample", why=f"{step.kind}s of the sample", inputs={name: rows}, outputs=answers)]
    for case, why, files in edge_files(step):
        made = np.empty((len(files), 1), dtype=object)
        made[:, 0] = files
        try:
            cases.append(GoldenAnswers(name=case, why=why, inputs={name: made}, outputs=ask({name: made})))
        except AweighError:  # the step or the source refuses them: nothing to prove
            continue
    one, turned = rows[-1:], rows[::-1].copy()
    cases.append(GoldenAnswers(name="single", why="one file alone", inputs={name: one}, outputs=ask({name: one})))
    cases.append(GoldenAnswers(name="permuted", why="the files in another order", inputs={name: turned}, outputs=ask({name: turned})))
    return tuple(cases)


def _told(evidence: Evidence, bare: Evidence | None) -> Evidence:
    """The evidence, with what was tried and found before the step stood around the variant."""
    tried = (*bare.repairs, f"without the step: passed on {bare.data}") if bare is not None else ()
    return msgspec.structs.replace(evidence, repairs=tried)
