"""What packing must know of a model of a tree library, whichever it is: its trees, and the arithmetic before and after them. Data, and the seam.

Each library's file (`xgboost.py`, `lightgbm.py`, `catboost.py`) fills it; `boosted_nodes.py` writes it as a graph, `boosted_pack.py` packs it.
"""

import dataclasses
import enum
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from aweigh.core import plugins
from aweigh.core.evidence import Check, Evidence
from aweigh.core.signature import Signature, Task
from aweigh.packing.frameworks.forest import MAX_LEAVES, Mode, Tree
from aweigh.packing.frameworks.tree_cause import Staged

LIBRARIES: Final = ("xgboost", "lightgbm", "catboost")
Options = dict[str, str | int | float | bool]


class Link(enum.StrEnum):
    """What is done to the trees' sum."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    EACH = "each"
    """A sigmoid for every class on its own."""
    EXP = "exp"
    SQUARE = "square"
    """x·|x|"""
    SOFTPLUS = "softplus"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """Trees with what stands around them. Inputs are the columns of one matrix, in the order that the model was trained with."""

    trees: tuple[Tree, ...]
    features: int
    targets: int
    link: Link
    single: bool
    """Whether the library adds in float32, in the order of the trees (else in float64)."""
    narrow: bool
    """Whether the library rounds its inputs to float32."""
    labels: tuple[Any, ...] = ()
    """A classifier's, in order."""
    sharpness: float = 1.0
    """What the sum is multiplied with inside a sigmoid."""
    scale: float = 1.0
    bias: tuple[float, ...] = ()
    cut: float = 0.0
    """Of two classes: the second one is answered from this sum on."""
    cut_short: frozenset[int] = frozenset()
    """Features whose fraction is dropped (categories)."""
    zero_missing: frozenset[int] = frozenset()
    """Features whose zeros count as missing."""
    zero_up_to: float = 0.0
    """Numbers of this size or less are zero to the library; 0 where that changes no answer."""
    missing: float = float("nan")
    """The value that stands for missing."""
    encodings: Mapping[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Texts of categorical features whose places the trees compare; empty where the signature's columns tell."""

    def thresholds(self) -> list[tuple[int, float]]:
        """Every (feature, threshold) of the numeric splits, each once, in the order of the trees."""
        found: dict[tuple[int, float], None] = {}
        for tree in self.trees:
            inner = ~tree.leaf if tree.mode is None else ~tree.leaf & (tree.mode != Mode.MEMBER)
            found.update(dict.fromkeys(zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist(), strict=True)))
        return list(found)


class Library(Protocol):
    """What the file of a tree library does for packing."""

    name: str
    file: str
    """Name of the native file in the package."""
    distributions: Sequence[str]
    sparse_zero_missing: bool
    """Whether a sparse matrix's zeros are missing values to it."""

    def read(self, model: Any, frame: Any) -> Boosted:
        """The model's trees; `frame` holds rows of the sample, None inside a pipeline. Raises NotImplementedError, saying why not."""
        ...

    def width(self, model: Any) -> int:
        """How many columns the model was trained on."""
        ...

    def names(self, model: Any) -> list[str] | None:
        """Names of the columns that the model was trained on, if it knows any."""
        ...

    def shape(self, model: Any, frame: Any) -> Any:
        """The frame with its columns in the types that the model was trained on: categories by the model's own lists."""
        ...

    def save(self, model: Any, place: Path) -> None:
        """Write the model in the library's own format, which holds no code."""
        ...

    def options(self, model: Any) -> Options:
        """What the native runtime is told beside the signature."""
        ...

    def staged(self, model: Any, boosted: Boosted, rows: Any) -> Staged | None:
        """The library's own sums for rows as the estimator takes them, round by round; None where it has none that can be compared."""
        ...


def library_of(model: object) -> str:
    """Which tree library a live model is of, or ""."""
    for kind in type(model).__mro__:
        top = kind.__module__.partition(".")[0]
        if top in LIBRARIES:
            return top
    return getattr(model, "tree_library", "")


def library(name: str) -> Library:
    """The file of a tree library. Raises MissingLibrary naming the extra."""
    return cast("type[Library]", plugins.load("framework", name))()


def boosted_parts(parts: Iterator[Any]) -> list[tuple[Any, Library]]:
    """Those of an estimator's parts that are of a tree library."""
    return [(part, library(name)) for part in parts if (name := library_of(part))]


def boosted_thresholds(model: Any) -> list[tuple[int, float]]:
    """Every (feature, threshold) of a tree library's model; none where its trees cannot be read."""
    try:
        return library(library_of(model)).read(model, None).thresholds()
    except Exception:  # noqa: BLE001  # a model that cannot be read has no thresholds; packing says why
        return []


def checked(model: Boosted) -> Boosted:
    """The model, refused where its trees are too many or point astray: a reader's last step. Raises NotImplementedError."""
    if sum(int(tree.leaf.sum()) for tree in model.trees) > MAX_LEAVES:
        raise NotImplementedError(f"the trees have more than {MAX_LEAVES} leaves")
    for tree in model.trees:
        count = len(tree.leaf)
        inner = ~tree.leaf
        for children in (tree.left[inner], tree.right[inner]):
            if len(children) and (children.min() <= 0 or children.max() >= count):
                raise NotImplementedError("a tree points to a node that it does not have")
        if inner.any() and (tree.feature[inner].min() < 0 or tree.feature[inner].max() >= model.features):
            raise NotImplementedError("a tree splits on a feature that the model does not have")
    return model


def smallest_from(low: float, high: float, holds: Any, dtype: type[np.floating[Any]]) -> float:
    """The smallest number of a float type in (low, high] for which `holds`, which stays true above it."""
    kind: Any = np.int32 if dtype is np.float32 else np.int64
    below, above = (_ordered(dtype(value), kind) for value in (low, high))
    while above - below > 1:
        middle = (below + above) // 2
        if holds(_number(middle, dtype, kind)):
            above = middle
        else:
            below = middle
    return float(_number(above, dtype, kind))


def _ordered(value: Any, kind: Any) -> int:
    bits = int(np.array(value).view(kind))
    return bits if bits >= 0 else -(bits & int(np.iinfo(kind).max))


def _number(place: int, dtype: Any, kind: Any) -> Any:
    bits = np.array(abs(place), dtype=kind).view(dtype)[()]
    return bits if place >= 0 else -bits


def as_float32(values: Any) -> NDArray[np.float64]:
    """Numbers as float32 holds them, in float64."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float32).astype(np.float64)


def beyond_an_ulp(signature: Signature, evidence: Evidence) -> Evidence:
    """The evidence, failed where numbers of a regressor or ranker stray by more than one float32 unit in the last place from the library's."""
    parity = evidence.check("parity")
    if signature.task not in {Task.REGRESSION, Task.RANKING} or parity is None or not evidence.passed:
        return evidence
    figures = {name: value for name, value in parity.figures.items() if name.endswith(".max_ulp")}
    close = all(value is not None and value <= 1.0 for value in figures.values())
    note = "" if close else "numbers stray by more than one unit in the last place of float32"
    check = Check(name="last-place", passed=close, figures=figures, limits=dict.fromkeys(figures, 1.0), note=note)
    return msgspec.structs.replace(evidence, passed=close, checks=(*evidence.checks, check))
