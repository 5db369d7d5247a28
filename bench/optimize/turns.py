"""Forms of one model held against the baseline: what they answer to rows that nobody saw, and their times in turns, all in one comparison."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from aweigh.core.errors import AweighError
from aweigh.core.package import Variant
from aweigh.core.protocols import PackageHandle
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.isolate import Caps, Environments
from aweigh.optimization.material import ask_all
from aweigh.optimization.timing import Contestant, compare
from aweigh.runtimes import load_session
from bench.optimize.results import BASE, Line

CAPS: Final = Caps(memory_bytes=8 * 1024**3, timeout_s=600, threads=1)
_TURNS_S: Final = 1.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form of the model, on disk."""

    line: Line
    variant: Variant
    files: Mapping[str, Path]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What all forms are held against: rows that nobody saw, and batches to time with (as runtimes take them)."""

    signature: Signature
    inner: Signature
    last: Mapping[str, Tensor]
    batches: Mapping[int, Mapping[str, Tensor]]
    measure: Callable[[Sequence[Tensor], Sequence[Tensor]], dict[str, float]]
    """Figures of answers, beside the baseline's."""
    within: Callable[[dict[str, float], dict[str, float]], bool]
    """Whether figures hold the budget, beside the baseline's."""


def environments() -> Environments:
    return Environments(Settings().environments_folder)


def form_of(handle: PackageHandle, variant: Variant, line: Line) -> Form:
    return Form(line=line, variant=variant, files={file: handle.path(file) for file in variant.files})


def loose(name: str, runtime: str, files: Sequence[Path], line: Line, *, inside: Form | None = None) -> Form:
    """Files that another tool made; they take the place of the model `inside` the step of a form."""
    made = {file.name: file for file in files}
    step = inside.variant.step if inside else None
    if inside is not None and step is not None:
        made |= {file: inside.files[file] for file in step.files}
    return Form(line=line, variant=Variant(name=name, runtime=runtime, precision="int8", files=tuple(made), step=step), files=made)


def held(trial: Trial, baseline: Form, others: Sequence[Form]) -> list[Line]:
    """The lines of all, the baseline's first."""
    source = _answers(trial, baseline)
    lines, running = [], []
    first = trial.measure(source, source)
    for form in (baseline, *others):
        try:
            figures = trial.measure(_answers(trial, form), source)
            running.append((form, _contestant(trial, form)))
        except AweighError as error:
            if form is baseline:
                raise
            lines.append(msgspec.structs.replace(form.line, silence=error.message, within=False))
            continue
        within = form is baseline or trial.within(figures, first)
        lines.append(msgspec.structs.replace(form.line, figures=figures, within=within))
    try:
        timed = compare(running[0][1], [each for _, each in running[1:]], trial.batches, seconds=_TURNS_S)  # type: ignore[arg-type]  # mappings of arrays
    finally:
        for _, contestant in running:
            contestant.close()
    found = {id(form): measured for (form, _), measured in zip(running, timed, strict=True)}
    whole = []
    for form, line in zip((baseline, *others), lines, strict=True):
        measured = found.get(id(form))
        whole.append(line if measured is None else msgspec.structs.replace(line, speeds=measured.speeds, size_bytes=measured.size_bytes))
    return whole


def _answers(trial: Trial, form: Form) -> list[Tensor]:
    variant = msgspec.structs.replace(form.variant, evidence=None)
    session = load_session(variant, trial.signature, form.files.__getitem__, environments=environments())
    try:
        return ask_all(session, trial.signature, trial.last)
    finally:
        session.close()


def _contestant(trial: Trial, form: Form) -> Contestant:
    bare = form.variant.bare()
    return Contestant(bare, trial.inner, {file: form.files[file] for file in bare.files}, caps=CAPS, environments=environments())


def classes(output: Tensor) -> Any:
    """The class of each row of scores."""
    return np.asarray(output).argmax(axis=1)


def base_line(what: str) -> Line:
    return Line(who=BASE, what=what)
