"""What a target is: it renders a package as files that a person can read and keep in Git, checks them, and applies them through the vendor's own client.

A target builds data and hands it to an emitter (`yaml_text.py`, `json`), so that no name or value can change a file's structure. It never runs a shell.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import msgspec

from aweigh.core.objective import Objective
from aweigh.core.package import Variant
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.deploy.capacity import Capacity
from aweigh.deploy.commands import Commands


class Need(enum.StrEnum):
    """What a target cannot do without."""

    IMAGE = "image"
    """The address of an image that its machines can pull: `--image`, or `--registry`, where `--apply` makes and sends it."""


class NoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a target that has none of its own."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many run at once. Where `least` is 0, none runs while nobody asks, on targets that can."""

    least: int = 1
    most: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The load to size for, as a person stated it."""

    requests_per_second: float = 0.0
    """0: nothing was said."""
    objective: Objective | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeployJob:
    """What a target renders: one package under a name, with what is known and asked of it."""

    name: str
    """Of the deployment: a DNS label, which every target takes."""
    package: PackageHandle
    variant: Variant
    variant_asked: bool = False
    """Whether a person named it: another is not taken in its place."""
    options: msgspec.Struct
    """The target's own, of its `options` type."""
    capacity: Capacity
    image: str = ""
    """Where the target's machines pull it from; with a digest where one is known."""
    scale: Scale = Scale()
    demand: Demand = Demand()
    before: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The facts of the deployment of this name that the target has already; none where it has none."""
    settings: Settings
    cache: Path
    """For what is fetched: base images, wheels."""
    progress: Progress = quiet


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Files by relative path ('/' between parts), and what a person should know of them."""

    files: Mapping[str, bytes | Path]
    """Bytes, or where a large one lies now."""
    does: Sequence[str] = ()
    """What applying it makes, a sentence each: 'a Service that three pods answer behind'."""
    costs: Sequence[str] = ()
    """What it costs, with the prices it was reckoned with."""
    commands: Sequence[str] = ()
    """What a person runs, in the folder, to apply it without aweigh."""
    notes: Sequence[str] = ()
    """What it was sized by, and what could not be checked here."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong in rendered files. What is not `fatal` is a warning."""

    place: str
    """'deployment.yaml: $.spec.replicas'."""
    message: str
    hint: str = ""
    fatal: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the vendor's client made: `facts` are kept in the record, for `undeploy` and `deployments`."""

    facts: Mapping[str, str]
    address: str = ""
    """Where it answers, if the client said so."""


class Target(Protocol):
    """Where a package runs. A plug-in of kind "target"."""

    name: ClassVar[str]
    options: ClassVar[type[msgspec.Struct]]
    """What `--set KEY=VALUE` takes: a struct whose every field has a default, except what nobody but the person can know."""
    needs: ClassVar[frozenset[Need]]

    def render(self, job: DeployJob) -> Rendered:
        """The files. Raises Unsupported, naming the value and the next step, for what the target cannot run."""
        ...

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        """Read the rendered files as the target would, without it: structure, and what a schema lets through."""
        ...

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        """Through the vendor's own client; applying it a second time changes what is there. Raises Unavailable, Refused."""
        ...

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        """Take away what `apply` made, whose facts these are; what is gone already is no failure."""
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A target that has to say more of what `apply` is about to make than the name and its options."""

    def foresee(self, folder: Path, job: DeployJob) -> Mapping[str, str]:
        """The facts that `remove` needs where `apply` ends midway: it takes away what is there, and nothing where nothing is."""
        ...


def foreseen(target: Target, folder: Path, job: DeployJob) -> dict[str, str]:
    """What is known before `apply`: the target's own word, else the deployment's name and the options that are text (where it goes to)."""
    if isinstance(target, Foreseeing):
        return {**job.before, **target.foresee(folder, job)}
    options = {name: value for name, value in msgspec.structs.asdict(job.options).items() if isinstance(value, str)}
    return {**job.before, **options, "name": job.name}
