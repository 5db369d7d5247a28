"""What a search works with: the package's variants, rows to calibrate, to judge and to time with, and who does what. Made by `app`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from aweigh.core.evidence import Evidence
from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.protocols import Session
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.optimization.budget import Budget, Figure
from aweigh.optimization.candidates import Candidate
from aweigh.optimization.making import Shop
from aweigh.optimization.passing import Device
from aweigh.optimization.timing import Batches

Index = NDArray[np.int64]
MAX_CALIBRATION: Final = 256
TELLING_ROWS: Final = 100
"""Of so many that judge one that is lost is a hundredth; fewer prove little."""
_CHUNK: Final = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which rows are for what: no row serves two purposes."""

    calibration: Index
    searched: Index
    unseen: Index

    @property
    def judged(self) -> Index:
        """All but those that a pass saw."""
        return np.sort(np.concatenate([self.searched, self.unseen]))


def split(rows: int, *, seed: int = 0, calibration: bool = True) -> Split:
    """A fifth to calibrate with (256 at most; none where there are rows of their own for it), of the others two thirds to search with."""
    order = np.random.default_rng(seed).permutation(rows)
    first = min(MAX_CALIBRATION, max(1, rows // 5)) if calibration and rows > 1 else 0
    middle = first + max(1, (rows - first) * 2 // 3)
    return Split(calibration=np.sort(order[:first]), searched=np.sort(order[first:middle]), unseen=np.sort(order[middle:]))


class Measure(Protocol):
    """The metrics of a budget, of answers to some rows."""

    def __call__(self, answers: Sequence[Tensor], source: Sequence[Tensor], rows: Index) -> dict[str, Figure]:
        """`answers` and `source` are of all rows; `rows` are those that count."""
        ...


Load = Callable[[Variant, Mapping[str, Path]], Session]
"""The session of a whole variant, in a process of its own. Raises what loading it raises."""
Prove = Callable[[Variant, Signature, Sequence[GoldenAnswers], Mapping[str, Path]], Evidence]
"""The evidence that a variant answers golden cases as they say."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A person's own training code, and the source that it trains."""

    source: str = ""
    factory: str = ""
    train: str = ""
    student: str = ""
    paths: tuple[str, ...] = ()
    digest: str = ""
    """Of all of it: another training makes another model."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """All that a search needs. `own` are the package's proven variants, the baseline first."""

    signature: Signature
    inner: Signature
    """What runtimes take and give, inside the steps of variants."""
    own: Sequence[Candidate]
    golden: Sequence[GoldenAnswers]
    rows: Mapping[str, Tensor]
    split: Split
    calibration: Path | None
    """A tensor file; None where no rows could be spared."""
    calibration_digest: str
    batches: Batches
    """Rows as runtimes take them, to time with."""
    budget: Budget
    goal: str
    device: Device
    shop: Shop
    measure: Measure
    load: Load
    prove: Prove
    earlier: Sequence[Candidate] = ()
    """What earlier searches kept within a budget, and the package has."""
    labelled: bool = False
    """Whether the rows have right answers."""
    finite: bool = True
    """Whether the rows hold neither NaN nor infinities, which variants that depart from the source refuse."""
    training: Training = Training()

    @property
    def baseline(self) -> Candidate:
        """What everything is held against."""
        return self.own[0]


def ask_all(session: Session, signature: Signature, rows: Mapping[str, Tensor]) -> list[Tensor]:
    """The answers to all rows, some at a time."""
    if not signature.batched:
        return session.run(dict(rows))
    count = signature.batch_size(rows)
    parts = [session.run({name: tensor[at : at + _CHUNK] for name, tensor in rows.items()}) for at in range(0, count, _CHUNK)]
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
