"""Running a pass: its ways here, its work in a capped child without network, in the environment that has its libraries."""

import dataclasses
import hashlib
import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec

from aweigh.core import plugins
from aweigh.core.errors import InternalError, MissingLibrary
from aweigh.core.protocols import Progress, quiet
from aweigh.core.versions import of_libraries
from aweigh.isolate import Caps, Environments, call
from aweigh.isolate.environments import lock_of
from aweigh.isolate.process import HERE
from aweigh.optimization.passing import Made, Need, Pass, PassJob, Way

_TARGET = f"{__name__}:make_in_child"


class ChildPass(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told."""

    name: str
    job: PassJob


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Where passes run: environments that have their libraries, and what a child may use."""

    environments: Environments | None
    caps: Caps
    progress: Progress = quiet


def load_pass(name: str) -> Pass:
    """A pass by its name, without its libraries. Raises Unsupported with the nearest name."""
    row = plugins.plugin("pass", name)
    module, _, attribute = row.target.partition(":")  # not by `plugins.load`, which refuses where a pass's own libraries are missing
    return cast("Pass", getattr(importlib.import_module(module), attribute)())


def all_passes() -> list[Pass]:
    """Those there are, in the order of the table."""
    return [load_pass(row.name) for row in plugins.plugins("pass")]


def ways_of(name: str, job: PassJob) -> Sequence[Way]:
    """The ways of a pass for this job. Raises Unsupported, saying why there is none."""
    return load_pass(name).ways(job)


def made_with(name: str) -> dict[str, str]:
    """Versions of the libraries that a pass works with: those that are installed, else a digest of its environment's list."""
    row = plugins.plugin("pass", name)
    if not row.missing():
        return of_libraries(row.libraries)
    lock = lock_of(row.environment)
    return {row.environment: hashlib.sha256(lock.read_bytes()).hexdigest()} if lock.is_file() else {}


def make_pass(name: str, job: PassJob, shop: Shop) -> Made:
    """Run a pass in a child. Raises what the pass raises, MissingLibrary, ChildDied, DeadlineExceeded; InternalError for files that are not there."""
    row, home = plugins.plugin("pass", name), HERE
    if row.missing():
        if shop.environments is None or not row.environment:
            raise MissingLibrary(
                f"the pass '{name}' needs {', '.join(row.missing())}, which is not installed",
                hint=f"pip install 'aweigh[{row.extra}]', or leave out --no-isolate"
                if row.extra
                else f"pip install {' '.join(row.missing())}",
            )
        home = shop.environments.home(row.environment, progress=shop.progress)
    caps = shop.caps
    if Need.GPU in load_pass(name).declares.needs:  # drivers of graphics cards map terabytes of addresses
        caps = msgspec.structs.replace(caps, memory_bytes=0)
    made = call(_TARGET, ChildPass(name=name, job=job), Made, caps=caps, progress=shop.progress, paths=job.paths, home=home)
    absent = [file for file in made.files.values() if not Path(file).is_file()]
    if absent:
        raise InternalError(f"the pass '{name}' names a file that it did not write: {absent[0]}")
    return made


def make_in_child(argument: ChildPass, progress: Progress) -> Made:
    """The child's side. A pass whose `make` has a parameter `progress` is given it."""
    make = load_pass(argument.name).make
    more = {"progress": progress} if "progress" in inspect.signature(make).parameters else {}
    return make(argument.job, **more)
