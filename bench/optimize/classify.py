"""A scenario of digits: pack, search with and without training code, the other tools on the same file, and a last check on rows that nobody saw."""

import dataclasses
import datetime as dt
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

import aweigh
from aweigh.app.optimize import OptimizeOptions
from aweigh.core.machine import machine
from aweigh.core.protocols import PackageHandle
from aweigh.core.tensors import Tensor
from bench.machine import describe
from bench.optimize import searched, tools
from bench.optimize.digits import Digits, digits
from bench.optimize.results import Bar, Document, Line, judged
from bench.optimize.turns import Form, Trial, classes, held

POINTS: Final = 0.5
KEEP: Final = f"accuracy within {POINTS} points"
LIBRARIES: Final = ("aweigh", "numpy", "onnxruntime", "scikit-learn")
_SAMPLE: Final = 64
_TRAIN_S: Final = 300.0
"""More, for the search that trains."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`side` pixels to a side of the pictures, 0 for rows of 64 numbers; `train` the person's function of `models.py`, "" where none is shown; `peers` whether the other tools run."""

    name: str
    title: str
    side: int
    factory: str
    batch: int
    seconds: float
    passes: tuple[str, ...] = ()
    """Those that are tried; all without it."""
    train: str = ""
    peers: bool = False
    bars: tuple[Bar, ...] = ()


def run(scenario: Scenario) -> Document:
    began = time.monotonic()
    found = digits(scenario.name, scenario.side)
    with tempfile.TemporaryDirectory(prefix="aweigh-bench-optimize-") as made:
        folder = Path(made)
        home = folder / "home"
        package: Any = aweigh.pack(
            str(found.weights), scenario.name, sample=found.rows["held"][:_SAMPLE], factory=scenario.factory, home=str(home)
        )
        options = OptimizeOptions(
            labels=found.labels["held"], keep=KEEP, batch=scenario.batch, seconds=scenario.seconds, passes=scenario.passes,
            source=str(found.weights), factory=scenario.factory,
        )  # fmt: skip
        model = str(package.reference)
        outcomes = {"aweigh": searched.search(home, model, found.rows["held"], options)}
        if scenario.train:
            trained = dataclasses.replace(options, train=scenario.train, seconds=options.seconds + _TRAIN_S)
            outcomes["aweigh --train"] = searched.search(home, model, found.rows["held"], trained)
        forms = [form for who, outcome in outcomes.items() for form in outcome.forms(who)]
        base = searched.baseline(outcomes["aweigh"].handle)
        theirs, silent = _peers(scenario, base, found, folder) if scenario.peers else ([], [])
        lines = (*held(_trial(package, found, scenario.batch), base, [*forms, *theirs]), *silent)
    where: Any = {**describe(LIBRARIES), "features": list(machine().features)}
    return Document(
        scenario=scenario.name,
        title=scenario.title,
        budget=KEEP,
        data=f"{_data(found, scenario.passes)}; a search ends after {scenario.seconds:.0f} s{f', with training {scenario.seconds + _TRAIN_S:.0f} s' if scenario.train else ''}",
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        machine=where,
        versions={**where["versions"], **(tools.versions() if scenario.peers else {})},
        lines=lines,
        bars=judged(scenario.bars, lines),
        told=tuple(text for who, outcome in outcomes.items() for text in outcome.told(who)),
    )


def _peers(scenario: Scenario, base: Form, found: Digits, folder: Path) -> tuple[list[Form], list[Line]]:
    task = tools.Task(
        model=base.files[base.variant.files[0]],
        input="pixels",
        rows=found.rows["held"],
        labels=found.labels["held"],
        points=POINTS,
        batch=scenario.batch,
        seconds=int(scenario.seconds),
    )
    return tools.forms(task, folder)


def _trial(package: PackageHandle, found: Digits, batch: int) -> Trial:
    signature = package.manifest.session_signature
    name, rows, labels = signature.inputs[0].name, found.rows["last"], found.labels["last"]

    def measure(answers: Sequence[Tensor], source: Sequence[Tensor]) -> dict[str, float]:
        given = classes(answers[0])
        return {"accuracy": float((given == labels).mean()), "agreement": float((given == classes(source[0])).mean())}

    def within(figures: dict[str, float], first: dict[str, float]) -> bool:
        return figures["accuracy"] >= first["accuracy"] - POINTS / 100 - 1e-9

    batches: Mapping[int, Mapping[str, Tensor]] = {count: {name: rows[np.resize(np.arange(len(rows)), count)]} for count in (1, batch)}
    return Trial(signature=signature, inner=signature, last={name: rows}, batches=batches, measure=measure, within=within)


def _data(found: Digits, passes: Sequence[str]) -> str:
    sizes = {part: len(rows) for part, rows in found.rows.items()}
    return (
        f"{sizes['train'] + sizes['valid']} rows to train with, {sizes['held']} with labels to optimise with (a fifth of them to calibrate, "
        f"the rest to judge by), {sizes['last']} that nobody saw for the last check; passes: {', '.join(passes) or 'all'}"
    )
