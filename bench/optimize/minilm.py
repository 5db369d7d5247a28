"""MiniLM-L6 with its own weights, by the share of texts that keep their nearest neighbour among 400: docstrings of the standard library. Three budgets."""

import ast
import dataclasses
import datetime as dt
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

import aweigh
from aweigh.app.optimize import OptimizeOptions
from aweigh.core.plugins import plugins
from aweigh.core.protocols import PackageHandle
from aweigh.core.tensors import Tensor
from aweigh.optimization.inside import inside_step
from aweigh.optimization.likeness import likeness
from aweigh.optimization.material import split
from bench import environments
from bench.machine import describe
from bench.optimize import searched, tools
from bench.optimize.classify import LIBRARIES
from bench.optimize.results import BASE, Bar, Document, Line, judged
from bench.optimize.turns import Trial, held
from bench.processes import BenchError
from bench.scenarios import text as text_scenario

TEXTS: Final = 400
HEADS, HIDDEN = 12, 384
"""Of MiniLM-L6."""
SECONDS: Final = 240.0
SIZES: Final = {1: 16, 8: 128}
"""Rows of a batch -> tokens of each."""
WORTH: Final = (
    "onnxruntime-level", "transformer-fusion", "openvino", "openvino-bf16", "nncf-weights", "nncf-int8",
)  # fmt: skip
"""Passes that transformers are known to gain by. All others are left out, for time: int8-dynamic looks minutes for the layers that must stay in float, and gains less than nncf-int8."""
_LETTERS: Final = (60, 420)
_MODULES: Final = "*.py"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A budget, what for, and what is promised of it."""

    share: float
    goal: str
    rows: int
    least: float

    @property
    def keep(self) -> str:
        return f"neighbours >= {100 * self.share:g}%"

    @property
    def who(self) -> str:
        return f"aweigh, {100 * self.share:g}%"

    def bar(self) -> Bar:
        what = f"{100 * self.share:g}% of neighbours, {self.rows} x {SIZES[self.rows]} tokens"
        return Bar(what=what, who=self.who, rows=self.rows, least=self.least)


CASES: Final = (
    Case(share=0.975, goal="latency", rows=1, least=1.5),
    Case(share=0.9, goal="latency", rows=1, least=2.0),
    Case(share=0.93, goal="throughput", rows=8, least=3.0),
)


def measure() -> Document:
    """Raises BenchError where the weights cannot be had."""
    began = time.monotonic()
    texts = np.array(_docstrings(2 * TEXTS), dtype=object)
    seen, last = texts[:TEXTS], texts[TEXTS:]
    with tempfile.TemporaryDirectory(prefix="aweigh-bench-optimize-") as made:
        home = Path(made) / "home"
        package: Any = aweigh.pack(_model(), "minilm", home=str(home))
        rows = {package.manifest.signature.inputs[0].name: seen}
        outcomes = {case: searched.search(home, str(package.reference), rows, _options(case)) for case in CASES}
        forms = [form for case, outcome in outcomes.items() for form in outcome.forms(case.who)]
        base = searched.baseline(outcomes[CASES[0]].handle)
        theirs, silent = tools.transformer_forms(base, _feeds(package, seen), Path(made), heads=HEADS, hidden=HIDDEN)
        lines = [_within(line) for line in (*held(_trial(package, last), base, [*forms, *theirs]), *silent)]
    where = describe(LIBRARIES)
    versions: Any = where["versions"]
    return Document(
        scenario="minilm",
        title="MiniLM-L6, embeddings of texts",
        budget="; ".join(case.keep for case in CASES),
        data=f"{len(seen)} docstrings of the standard library to optimise with, {len(last)} others for the last check; the other tools are held to the widest budget",
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        machine=where,
        versions={**versions, **environments.versions("minilm", Path(text_scenario.__file__).parent), **tools.versions()},
        lines=tuple(lines),
        bars=judged([case.bar() for case in CASES], lines),
        told=tuple(told for case, outcome in outcomes.items() for told in outcome.told(case.who)),
    )


def _options(case: Case) -> OptimizeOptions:
    there = {row.name for row in plugins("pass")}
    return OptimizeOptions(
        keep=case.keep, goal=case.goal, batch=case.rows, seconds=SECONDS, passes=tuple(name for name in WORTH if name in there)
    )


def _feeds(package: PackageHandle, texts: Any) -> list[Mapping[str, Tensor]]:
    """The rows that aweigh calibrates with, each as the model inside takes it."""
    signature = package.manifest.session_signature
    name = signature.inputs[0].name
    picked = [texts[at : at + 1] for at in split(len(texts)).calibration]
    return [inside_step(package.manifest.variants[0], signature, package.path, {name: row})[1] for row in picked]


def _within(line: Line) -> Line:
    """Whether it holds its own budget; of other tools the widest."""
    share = next((case.share for case in CASES if case.who == line.who), min(case.share for case in CASES))
    return line if line.who == BASE else msgspec.structs.replace(line, within=line.figures.get("neighbours", 0.0) >= share)


def _trial(package: PackageHandle, last: Any) -> Trial:
    signature = package.manifest.session_signature
    variant = package.manifest.variants[0]
    name = signature.inputs[0].name
    inner, one = inside_step(variant, signature, package.path, {name: last[:1]})

    def measured(answers: Sequence[Tensor], source: Sequence[Tensor]) -> dict[str, float]:
        return {metric: likeness(metric, signature, source, answers).value for metric in ("neighbours", "cosine")}

    batches: Mapping[int, Mapping[str, Tensor]] = {
        rows: {each: np.resize(np.asarray(tensor)[0], (rows, tokens)) for each, tensor in one.items()} for rows, tokens in SIZES.items()
    }
    return Trial(signature=signature, inner=inner, last={name: last}, batches=batches, measure=measured, within=lambda *_: True)


def _model() -> Path:
    home = Path(text_scenario.__file__).parent
    environments.python("minilm", home)
    folder = environments.site_packages("minilm") / text_scenario.PACKAGE / "model"
    if not folder.is_dir():
        raise BenchError(f"{folder} is not there")
    return folder


def _docstrings(count: int) -> list[str]:
    """Of functions and classes of the standard library, in the order of its files, each once; every second one is for the last check."""
    found: dict[str, None] = {}
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob(_MODULES)):
        for told in _of_file(file):
            if _LETTERS[0] <= len(told):
                found.setdefault(told[: _LETTERS[1]])
    every = list(found)[:count]
    if len(every) < count:
        raise BenchError(f"the standard library has {len(every)} docstrings, {count} are needed")
    return [*every[::2], *every[1::2]]


def _of_file(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8", errors="replace"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            told = ast.get_docstring(node)
            if told:
                yield " ".join(told.split())
