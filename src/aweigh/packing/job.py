"""What the stages of packing hand each other: the request, the job that a framework is given, and what it makes. Data only."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from aweigh.core.golden import GoldenAnswers
from aweigh.core.package import Variant
from aweigh.core.padding import Fill
from aweigh.core.protocols import Progress, Prover, quiet
from aweigh.core.signature import Signature
from aweigh.core.tensors import Tensor
from aweigh.isolate import Caps, Environments, Home
from aweigh.packing.media import Plan
from aweigh.packing.recognise import Recognised
from aweigh.packing.refused import Asker


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackRequest:
    """Everything that `pack` is asked with beside the source. `sample` and `labels` are paths or objects."""

    prove: Prover
    """For a source that is a file, a function of a module: the child imports it by name."""
    sample: object = None
    labels: object = None
    trust: bool = False
    factory: str = ""
    """What makes the module that weights belong to, as module:factory; the person's own code."""
    opset: int = 0
    """Of the ONNX that is wanted; 0 leaves it to the framework."""
    pre: str = ""
    post: str = ""
    image: str = ""
    sound: str = ""
    answer: str = ""
    """How files that the model is asked with are read, and what is made of its answers, in words: see `media.py`."""
    plan: Plan | None = None
    """The same, read."""
    padding: Mapping[str, Fill] = dataclasses.field(default_factory=dict)
    tolerances: Mapping[str, tuple[float, float | None]] = dataclasses.field(default_factory=dict)
    """Of float outputs by name ("" for all): rtol, and atol where it is given too."""
    caps: Caps = dataclasses.field(default_factory=Caps)
    progress: Progress = quiet
    origin: str = ""
    """Where the source was fetched from, for the provenance."""
    also: tuple[str, ...] = ()
    """Further variants to prove: a runtime, or onnxruntime:PROVIDER."""
    licence: str = ""
    description: str = ""
    command: str = ""
    """The command line, for the provenance."""
    environments: Environments | None = None
    """Where environments for missing libraries are kept and made; without it, what is missing is missing."""
    homes: Mapping[str, Home] = dataclasses.field(default_factory=dict)
    """Environments that were made ready for the framework beside the one this runs in, by name: children have no network to make any."""
    work: Path | None = None
    """Folder for the draft's files, which must outlive the draft; None reads them into memory."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model for a framework to pack. `sample` and `labels` are as the person gave them, `work` is an empty folder for files."""

    model: Any
    recognised: Recognised | None
    source: Path | None
    sample: object
    labels: object
    trust: bool
    prove: Prover
    progress: Progress
    work: Path
    cases: tuple[Path, ...] = ()
    """Folders of inputs that came with the model, and of the outputs that it is said to give."""
    homes: Mapping[str, Home] = dataclasses.field(default_factory=dict)
    """Environments beside this one in which the framework may start children, by name."""
    caps: Caps = dataclasses.field(default_factory=Caps)
    """For such children."""
    factory: str = ""
    """What makes the module that weights belong to, as module:factory."""
    opset: int = 0
    """Of the ONNX that is wanted; 0 leaves it to the framework."""
    also: tuple[str, ...] = ()
    """Forms to keep beside the first that passes: those of `FORMS` in `also.py`."""
    before: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    """The `pre` hook: turns the sample's request tensors into the model's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What a framework made of a model: proven variants, their files on disk by package path, and the golden set."""

    signature: Signature
    variants: tuple[Variant, ...]
    files: Mapping[str, Path]
    golden: tuple[GoldenAnswers, ...]
    ask: Asker
    framework: str
    source_class: str
    versions: dict[str, str]
    request_sample: Mapping[str, Tensor]
    """The sample as request tensors, before the `pre` hook."""
    generated: tuple[GoldenAnswers, ...] = ()
    """Cases that are asked of every variant and not kept."""
    contains_pickle: bool = False
    pickled: bool = False
    """Whether the source was a pickle, which its format does not tell."""
    beside: tuple[Path, ...] = ()
    """Files that the source is made of beside the one that was given."""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)


class Framework(Protocol):
    """The adapter of a library whose models can be packed."""

    name: str

    def accepts(self, model: object) -> bool:
        """Whether a live object is a model of this framework."""
        ...

    def load(self, path: Path, recognised: Recognised, *, trust: bool) -> Any:
        """Judge the file, then load it. Raises NotTrusted, InvalidFile, MissingLibrary."""
        ...

    def pack(self, job: Job) -> Packed:
        """Make the golden set and a proven variant. Raises ProofFailed, naming inputs, where nothing answers as the source does."""
        ...


class Judge(Protocol):
    """The verdict on a source, by a plug-in of kind "judge" that imports none of what it judges for."""

    def __call__(self, path: Path, *, trust: bool) -> None:
        """Raise NotTrusted, InvalidFile."""
        ...
