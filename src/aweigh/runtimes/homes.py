"""Where a runtime runs: here, where its libraries are, else in an environment that has them. Called while loading; makes an environment only where it may be."""

import sys
from typing import Final

from aweigh.core.errors import MissingLibrary, Unsupported
from aweigh.core.package import PackageManifest, Variant
from aweigh.core.plugins import check_libraries, plugin
from aweigh.isolate import Environments, Home
from aweigh.isolate.process import HERE

_SYSTEMS: Final = {"darwin": "macOS", "linux": "Linux", "win32": "Windows"}


def foreign(runtime: str) -> Unsupported | None:
    """Why a runtime runs on no machine of this system, whatever is installed; None where it may, and for one that is not known."""
    try:
        system = plugin("runtime", runtime).system
    except Unsupported:
        return None
    if system in {"", sys.platform}:
        return None
    here = _SYSTEMS.get(sys.platform, sys.platform)
    return Unsupported(
        f"{_SYSTEMS.get(system, system)} alone can run what '{runtime}' runs; this is {here}",
        hint="take another variant of the package here",
    )


def home_of(runtime: str, environments: Environments | None) -> Home:
    """The interpreter for a runtime. Raises Unsupported for one that is not known, or of another system; MissingLibrary that names what to install, or what to make."""
    if error := foreign(runtime):
        raise error
    name = plugin("runtime", runtime).environment if needs_environment(runtime) else ""
    if environments is None or not name:
        check_libraries("runtime", runtime)
        return HERE
    if not environments.allowed and not environments.has(name):
        try:
            check_libraries("runtime", runtime)
        except MissingLibrary as error:
            error.hint = f"'aweigh env make {name}' makes an environment that has it; or {error.hint}"
            raise
    return environments.home(name)


def process_home(manifest: PackageManifest, variant: Variant, environments: Environments) -> Home:
    """Where the child of a package's variant runs. Hooks run with the libraries of whoever wrote them, steps with aweigh's: around such a variant the child is one of here,
    which loads the model itself in a child of the environment. Raises as `home_of` does."""
    home = home_of(variant.runtime, environments)
    return environments.here() if home != HERE and (manifest.hooks.pre or manifest.hooks.post or variant.step) else home


def needs_environment(runtime: str) -> bool:
    """Whether its libraries are missing here and an environment could have them. Raises Unsupported."""
    row = plugin("runtime", runtime)
    return bool(row.environment and row.missing())


def can_run(runtime: str, environments: Environments | None) -> bool:
    """Whether it would run as things are, here or in an environment that is there already. Imports and makes nothing. Raises Unsupported."""
    row = plugin("runtime", runtime)
    if foreign(runtime) is not None:
        return False
    return not row.missing() or bool(environments is not None and row.environment and environments.has(row.environment))


def check_step(variant: Variant) -> None:
    """Raise MissingLibrary, naming what to install, where the variant's step needs what is not here. Imports nothing."""
    if variant.step is not None:
        check_libraries("step", variant.step.kind)
