"""What a pass is: what it declares, what it is given, and what it gives back. Passes implement `Pass`; `making` runs them, each in a child of its own.

A pass is imported where its libraries may be missing, so its file imports these inside `make` alone.
"""

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from aweigh.core.package import Variant
from aweigh.core.signature import Signature

Choice = str | int | float | bool


class Need(enum.StrEnum):
    """What a pass cannot do without."""

    CALIBRATION = "calibration data"
    LABELS = "labels"
    TRAINING = "training code (--train MODULE:FUNCTION)"
    SOURCE = "the source file (--source FILE)"
    STUDENT = "a smaller model to teach"
    GPU = "a graphics card"


class Kind(enum.StrEnum):
    """What a pass is to the search, in the order in which they are tried."""

    REWRITE = "rewrite"
    """Another form with the same answers: held to the source's."""
    PRECISION = "precision"
    """Numbers of fewer bits."""
    TRAIN = "train"
    """Another model, trained anew."""
    TUNE = "tune"
    """The same files with other options: held to the source's answers too."""


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass says of itself."""

    name: str
    kind: Kind
    takes: tuple[str, ...]
    """Runtimes whose variants it can begin with."""
    needs: frozenset[Need] = frozenset()
    goals: frozenset[str] = frozenset({"cpu", "latency", "throughput", "size", "edge", "mobile"})
    """What a search may be for (`--for`), for the pass to be worth trying."""
    composes: bool = True
    """Whether what it makes can be handed to further passes."""
    departs: bool = False
    """Whether its answers are others than the source's, so that only a budget can keep it."""
    elsewhere: str = ""
    """Where alone what it makes can be run ('macOS'): such a variant is kept without evidence, and never answers before it was verified there."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What the search is for: threads inside one call, memory, and instruction sets."""

    threads: int = 1
    memory_bytes: int = 0
    features: tuple[str, ...] = ()
    """As `core/machine.py` names them: avx512_vnni, amx_int8, …"""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One of several ways in which a pass may go about it."""

    name: str
    """"" for the only one; "per-tensor"."""
    choices: dict[str, Choice] = {}


class PassJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass is given. Crosses to the child."""

    variant: Variant
    """Bare: what its runtime alone sees."""
    files: dict[str, str]
    """Package path of each of the variant's files -> the file on disk. They must not be changed."""
    signature: Signature
    """What the variant's runtime takes and gives."""
    folder: str
    """Empty, for the pass to write in."""
    way: Way = Way(name="")
    device: Device = Device()
    calibration: str = ""
    """A tensor file (`core/tensorfile.py`) with rows: input/NAME for each input of `signature`, output/NAME for what the source's variant answered; "" where there are none."""
    agreement: float = 0.99
    """Share of rows that may at least be expected to agree with the source: what sensitivity is judged by."""
    measure: str = "agreement"
    """What `agreement` is a share of, as `likeness` names it: agreement, neighbours, cosine."""
    source: str = ""
    """The file or folder that the package was packed from, where a person gave it."""
    factory: str = ""
    """`module:factory` of a source that comes as weights alone."""
    train: str = ""
    """`module:function` of the person's own training code."""
    student: str = ""
    """`module:factory` of a smaller model that is to learn from the source."""
    paths: tuple[str, ...] = ()
    """Folders in which a person's modules are found."""
    time_s: float = 600.0
    """How long the pass may take; it is ended soon after."""

    def entry(self) -> Path:
        """The variant's first file on disk."""
        return Path(self.files[self.variant.files[0]])


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a pass gives back: a variant without name and evidence."""

    runtime: str
    precision: str
    files: dict[str, str] = {}
    """Path below the variant's own folder ("model.onnx", the entry first) -> the file, in the job's folder or among the job's files."""
    options: dict[str, Choice] = {}
    environment: tuple[str, ...] = ()
    """Exact requirements of the runtime."""
    notes: tuple[str, ...] = ()
    """What is worth telling: '12 of 40 MatMul stayed in float: ...'."""


class Pass(Protocol):
    """One file of `passes/`."""

    declares: Declaration

    def ways(self, job: PassJob) -> Sequence[Way]:
        """The ways worth trying with this variant, cheapest first; runs where its libraries may be missing. Raises Unsupported, saying why there is none."""
        ...

    def make(self, job: PassJob) -> Made:
        """Do it, in a child. Raises AweighError (Unsupported: 'the graph has no MatMul'); what libraries raise is told as it is.

        One that takes long may take a second parameter `progress: Progress = quiet`, and tell of it."""
        ...
