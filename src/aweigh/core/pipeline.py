"""The graph of a pipeline, `pipeline.json` of its package: steps, what each is given, and what is answered. Format version 1.

Written by `packing`, read by the engine. A tensor on its way is named by its source: `request.NAME`, or `STEP.OUTPUT`. To raise FORMAT_VERSION:
keep the old structs and a reader that lifts them, add a sample of the old version to tests/data/formats/, and say in an ADR what changed.
"""

import enum
from typing import Final

import msgspec

from aweigh.core.documents import decode_document
from aweigh.core.errors import TooLarge
from aweigh.core.package import PackageManifest, Part
from aweigh.core.protocols import PackageHandle

FORMAT_VERSION: Final = 1
PIPELINE_FILE: Final = "pipeline.json"
PIPELINE_RUNTIME: Final = "pipeline"
FUNCTION_RUNTIME: Final = "function"
REQUEST: Final = "request"
OUTPUT: Final = "output"
"""What the only output of a combining step is called."""
MAX_STEPS: Final = 64
_MAX_BYTES: Final = 16 * 1024 * 1024


class Combine(enum.StrEnum):
    """The steps that are built in: one tensor made of several."""

    MEAN = "mean"
    WEIGHTED_MEAN = "weighted-mean"
    VOTE = "vote"
    MAX = "max"
    CONCAT = "concat"
    JOIN = "join"
    """The rows of several branches put together again, in the order of the request; of several that have a row the first is taken."""


class Operator(enum.StrEnum):
    """How a condition compares."""

    EQUAL = "=="
    DIFFERENT = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    IN = "in"


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which rows a branch takes: those whose element of `source` compares so with the value; with one of the values under `in`."""

    source: str
    operator: Operator
    values: tuple[int | float | str | bool, ...]
    column: int | None = None
    """Which element of the last axis; None where there is one element a row."""

    def __str__(self) -> str:
        column = "" if self.column is None else f"[{self.column}]"
        value = list(self.values) if self.operator is Operator.IN else self.values[0]
        return f"{self.source}{column} {self.operator.value} {value!r}"


class Feed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One tensor of a step, and where it comes from. A combining step's have no names."""

    source: str
    tensor: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step: another package (`part`), a Python function that rides along (`function`, a manifest of its own), or `combine`."""

    name: str
    inputs: tuple[Feed, ...]
    part: Part | None = None
    function: PackageManifest | None = None
    combine: Combine | None = None
    weights: tuple[float, ...] = ()
    when: Condition | None = None
    """Only these rows come to this step and those that follow it, until branches are joined."""
    otherwise: tuple[str, ...] = ()
    """Only the rows that none of these steps takes."""

    @property
    def opens_branch(self) -> bool:
        return self.when is not None or bool(self.otherwise)

    @property
    def runs(self) -> str:
        """What it is, in words."""
        if self.part is not None:
            return f"{self.part.name}:{self.part.version}"
        if self.function is not None:
            return f"function {self.function.variants[0].options.get('function', '')}"
        return self.combine.value if self.combine is not None else "nothing"

    @property
    def rows(self) -> str:
        """Which rows come to it, in words; empty where all do."""
        if self.when is not None:
            return f"when {self.when}"
        return f"where {', '.join(self.otherwise)} {'does' if len(self.otherwise) == 1 else 'do'} not" if self.otherwise else ""


class Output(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One output of the pipeline, and where it comes from."""

    name: str
    source: str


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of `pipeline.json`. Each step comes after those that it takes from."""

    format_version: int
    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The packages that it needs, each once."""
        return tuple(dict.fromkeys(step.part for step in self.steps if step.part is not None))


_DECODER: Final = msgspec.json.Decoder(Graph)


def step_of(source: str) -> str:
    """The step that gives a tensor, or `request`."""
    return source.partition(".")[0]


def needs(step: Step, graph_steps: dict[str, Step]) -> set[str]:
    """Every source that must be there before the step can start: its inputs, and what decides which rows it takes."""
    found = {feed.source for feed in step.inputs}
    if step.when is not None:
        found.add(step.when.source)
    for other in step.otherwise:
        known = graph_steps.get(other)
        if known is not None and known.name != step.name and known.when is not None:
            found.add(known.when.source)
    return found


def takes(step: Step, graph_steps: dict[str, Step]) -> tuple[str, ...]:
    """The same in order: inputs as they are written, then the rest."""
    return tuple(dict.fromkeys([*(feed.source for feed in step.inputs), *sorted(needs(step, graph_steps))]))


def encode_graph(graph: Graph) -> bytes:
    """Deterministic JSON: the same graph gives the same bytes."""
    return msgspec.json.encode(graph, order="sorted")


def decode_graph(data: bytes, *, place: str = PIPELINE_FILE) -> Graph:
    """Read `pipeline.json`. Raises Unsupported for a newer format version, InvalidFile with the JSON path for anything malformed."""
    return decode_document(data, _DECODER, newest=FORMAT_VERSION, what="the graph of a pipeline", place=place)


def read_graph(handle: PackageHandle) -> Graph:
    """The graph of a pipeline's package. Raises InvalidFile, Unsupported, TooLarge, and FileMissing for a package that has none."""
    path = handle.path(PIPELINE_FILE)
    if path.stat().st_size > _MAX_BYTES:
        raise TooLarge(f"{handle.reference} {PIPELINE_FILE}: {path.stat().st_size} bytes", hint=f"{_MAX_BYTES} bytes are read at most")
    return decode_graph(path.read_bytes(), place=f"{handle.reference} {PIPELINE_FILE}")
