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
from aweigh.isolate import Caps
from aweigh.packing.edges import Asker
from aweigh.packing.recognise import Recognised


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackRequest:
    """Everything that `pack` is asked with beside the source. `sample` and `labels` are paths or objects."""

    prove: Prover
    """For a source that is a file, a function of a module: the child imports it by name."""
    sample: object = None
    labels: object = None
    trust: bool = False
    pre: str = ""
    post: str = ""
    padding: Mapping[str, Fill] = dataclasses.field(default_factory=dict)
    caps: Caps = dataclasses.field(default_factory=Caps)
    progress: Progress = quiet
    licence: str = ""
    description: str = ""
    command: str = ""
    """The command line, for the provenance."""
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
    contains_pickle: bool = False
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
