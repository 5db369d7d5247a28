"""Comparing two packages: both answer the same rows in process, and the stage `evaluation` says how they differ. For `aweigh diff` and `aweigh.diff`."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import msgspec

from aweigh.app.models import model_to_load
from aweigh.app.predict import predict_tensors
from aweigh.app.rows import Rows
from aweigh.app.tables import write_whole
from aweigh.core.errors import AweighError, InvalidInput, Unsupported
from aweigh.core.golden import read_golden
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor, Tensors
from aweigh.engine.lifecycle import load_model
from aweigh.engine.model import LoadedModel
from aweigh.evaluation.differences import Answered, DiffReport, bounds_of, outputs_diff, pair_outputs
from aweigh.evaluation.differences_page import differences_page

_CALLS: Final = 200
_BUDGET_S: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What both are to be asked: the inputs as each takes them."""

    case: str
    first: Tensors
    second: Tensors


def diff_models(
    settings: Settings,
    first: str,
    second: str,
    data: object = None,
    *,
    max_difference: float | None = None,
    max_flips: float | None = None,
    progress: Progress = quiet,
) -> DiffReport:
    """Compare on data, or on the golden sets of both. Raises what finding and loading raise, InvalidInput, Unsupported."""
    if max_difference is not None and not max_difference >= 0:
        raise InvalidInput(f"a largest difference of {max_difference:g}: expected 0 or more")
    if max_flips is not None and not 0 <= max_flips <= 1:
        raise InvalidInput(f"a share of flips of {max_flips:g}: expected 0 to 1", hint="such as 1%")
    handles = (model_to_load(settings, first), model_to_load(settings, second))
    _, notes = pair_outputs(handles[0].manifest.signature, handles[1].manifest.signature)
    asked, source = _questions(handles, data)
    progress("asking both")
    with _loaded(settings, handles[0]) as one, _loaded(settings, handles[1]) as two:
        answers, refused = _answers(one, two, asked)
        latency = _latency(one, two, answers)
    if not answers:
        raise InvalidInput(f"there is nothing that both answer: {'; '.join(refused)[:300]}", hint="give DATA that both take")
    signatures = (handles[0].manifest.signature, handles[1].manifest.signature)
    outputs, worst, flips, moved = outputs_diff(signatures, answers)
    report = DiffReport(
        first=str(handles[0].reference),
        second=str(handles[1].reference),
        digests=(handles[0].digest, handles[1].digest),
        data=source,
        rows=sum(signatures[0].batch_size(answer.inputs) for answer in answers),
        outputs=tuple(outputs),
        flips=flips,
        rank_changes=moved,
        worst=tuple(worst),
        latency_us=latency,
        notes=(*notes, *refused),
    )
    return msgspec.structs.replace(report, bounds=bounds_of(report, max_difference=max_difference, max_flips=max_flips))


def write_diff_page(report: DiffReport, path: str) -> None:
    """Write the page of HTML. Raises StoreUnavailable."""
    write_whole(Path(path), differences_page(report).encode())


def _questions(handles: tuple[PackageHandle, PackageHandle], data: object) -> tuple[list[_Asked], str]:
    one, two = (handle.manifest.signature for handle in handles)
    if data is not None:
        rows = Rows.read(data, one)
        return [_Asked(case="data", first=rows.tensors(one), second=Rows.read(data, two).tensors(two))], rows.source
    if not _same_inputs(one, two):
        raise Unsupported(
            "the two take different inputs, so neither's golden set fits the other", hint="give DATA with the columns that both take"
        )
    asked = [
        _Asked(case=f"{place}:{case.name}", first=case.inputs, second=case.inputs)
        for place, handle in zip(("first", "second"), handles, strict=True)
        for case in read_golden(handle.manifest, handle.path)
    ]
    return asked, "the golden sets of both"


def _same_inputs(one: Signature, two: Signature) -> bool:
    return [(spec.name, spec.datatype) for spec in one.inputs] == [(spec.name, spec.datatype) for spec in two.inputs]


@contextmanager
def _loaded(settings: Settings, handle: PackageHandle) -> Iterator[LoadedModel]:
    model = load_model(handle, settings)
    try:
        yield model
    finally:
        model.close()


def _answers(one: LoadedModel, two: LoadedModel, asked: list[_Asked]) -> tuple[list[Answered], list[str]]:
    """What both answered; and, of golden cases, those that one of them refuses. Data that is refused is an error."""
    found, refused = [], []
    for question in asked:
        outputs: list[list[Tensor]] = []
        try:
            for model, inputs in ((one, question.first), (two, question.second)):
                outputs.append(predict_tensors(model, inputs))
        except AweighError as error:
            if question.case == "data":
                raise
            refused.append(
                f"case '{question.case}' is refused by {(one, two)[len(outputs)].name}:{(one, two)[len(outputs)].version}: {error.message[:120]}"
            )
            continue
        found.append(Answered(case=question.case, inputs=question.first, first=outputs[0], second=outputs[1]))
    return found, refused


def _latency(one: LoadedModel, two: LoadedModel, answers: list[Answered]) -> dict[str, float]:
    """Median microseconds of one row, in turn, so that both meet the same machine. Only where both take the same inputs."""
    if not answers or not _same_inputs(one.signature, two.signature):
        return {}
    inputs = answers[0].inputs
    row = {name: tensor[:1] for name, tensor in inputs.items()} if one.signature.batched and two.signature.batched else dict(inputs)
    times: tuple[list[float], list[float]] = ([], [])
    began = perf_counter()
    while len(times[0]) < _CALLS and (not times[0] or perf_counter() - began < _BUDGET_S):
        for model, spent in zip((one, two), times, strict=True):
            started = perf_counter()
            model.run(row)
            spent.append((perf_counter() - started) * 1e6)
    return {f"{model.name}:{model.version}": median(spent) for model, spent in zip((one, two), times, strict=True)}
