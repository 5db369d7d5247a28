"""What a base has inside, found by reading its layers: its Python, its glibc, and standard library modules that have no bytecode. Used by `build`.

Nothing of the base is run, so a base of any platform can be looked into.
"""

import dataclasses
import re
import tarfile
from collections.abc import Sequence
from typing import Final

from aweigh.core.errors import InvalidFile, Unsupported
from aweigh.deploy.images.base import Base
from aweigh.deploy.platforms import Glibc, Python

_PYTHON: Final = re.compile(r"usr/(local/)?bin/python3\.(\d{1,2})")
_LIBRARY: Final = re.compile(r"usr/(?:local/)?lib/python3\.\d{1,2}/")
_NOT_RUN: Final = re.compile(r"/(?:site-packages|dist-packages|test|tests|idlelib|lib2to3|turtledemo|ensurepip|tkinter|config-[^/]*)/")
_LIBC: Final = re.compile(r"(?:usr/)?lib(?:64)?/(?:[a-z0-9_]+-linux-gnu[a-z0-9]*/)?libc\.so\.6|(?:usr/)?lib(?:64)?/.*libc-2\.\d+\.so")
_GLIBC: Final = re.compile(rb"stable release version (\d+)\.(\d+)")
_OLDEST: Final = (3, 11)
_MAX_MEMBERS: Final = 500_000
_MAX_MODULE_BYTES: Final = 8 * 1024 * 1024
_MAX_LIBC_BYTES: Final = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What was found; paths are without a leading '/'."""

    python: Python
    interpreter: str
    glibc: Glibc
    modules: dict[str, bytes]
    """Of the standard library: those without bytecode beside them."""
    folders: frozenset[str]


def look_inside(base: Base) -> Inside:
    """Read all layers of a base. Raises Unsupported where it has no Python that runs aweigh, or no glibc."""
    found = _Found()
    for layer in base.layers:
        try:
            with tarfile.open(layer.path, mode="r|*") as archive:
                found.add(archive)
        except tarfile.TarError as error:
            raise InvalidFile(f"layer {layer.digest[:19]}… of {base.name} cannot be read: {error}", hint="do not use it") from error
    pythons = sorted(((int(hit[2]), bool(hit[1])), path) for path in found.pythons if (hit := _PYTHON.fullmatch(path)))
    if not pythons or (3, pythons[-1][0][0]) < _OLDEST:
        has = ", ".join(path for _, path in pythons) or "none"
        raise Unsupported(
            f"{base.name} has no Python of {_OLDEST[0]}.{_OLDEST[1]} or later in usr/bin or usr/local/bin: {has}",
            hint="choose a base with one, such as gcr.io/distroless/python3-debian12 or python:3.13-slim",
        )
    if found.glibc is None:
        raise Unsupported(f"{base.name} has no glibc, which wheels need", hint="choose a base of Debian, Ubuntu or Red Hat, not of Alpine")
    (minor, local), interpreter = pythons[-1]
    library = f"usr/{'local/' if local else ''}lib/python3.{minor}/"
    modules = {
        path: source
        for path, source in found.sources.items()
        if path.startswith(library) and bytecode_path(path, (3, minor)) not in found.bytecode
    }
    return Inside(python=(3, minor), interpreter=interpreter, glibc=found.glibc, modules=modules, folders=frozenset(found.folders))


def bytecode_path(path: str, python: Python) -> str:
    """Where Python looks for the bytecode of a module."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-{python[0]}{python[1]}.pyc".lstrip("/")


class _Found:
    def __init__(self) -> None:
        self.pythons: set[str] = set()
        self.sources: dict[str, bytes] = {}
        self.bytecode: set[str] = set()
        self.folders: set[str] = set()
        self.glibc: Glibc | None = None

    def add(self, archive: tarfile.TarFile) -> None:
        """Put a layer over what was found in those below it."""
        for count, member in enumerate(archive):
            if count > _MAX_MEMBERS:
                raise InvalidFile("a layer of the base has more files than a base may", hint="choose another")
            path = member.name.removeprefix("./").strip("/")
            folder, _, name = path.rpartition("/")
            if name.startswith(".wh."):
                self._remove(f"{folder}/{name.removeprefix('.wh.')}" if name != ".wh..wh..opq" else folder)
            elif member.isdir():
                self.folders.add(path)
            elif _PYTHON.fullmatch(path):
                self.pythons.add(path)
            elif member.isreg():
                self._file(archive, member, path)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if _LIBRARY.match(path) and not _NOT_RUN.search(path):
            if path.endswith(".py"):
                self.sources[path] = _content(archive, member, _MAX_MODULE_BYTES)
            elif path.endswith(".pyc"):
                self.bytecode.add(path)
        elif _LIBC.fullmatch(path) and (said := _GLIBC.search(_content(archive, member, _MAX_LIBC_BYTES))):
            self.glibc = int(said[1]), int(said[2])

    def _remove(self, path: str) -> None:
        below = f"{path}/"
        for names in (self.pythons, self.bytecode, self.folders):
            names.difference_update([name for name in names if name == path or name.startswith(below)])
        for name in [name for name in self.sources if name == path or name.startswith(below)]:
            del self.sources[name]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> bytes:
    stream = archive.extractfile(member)
    data = stream.read(limit + 1) if stream else b""
    if len(data) > limit:
        raise InvalidFile(f"{member.name[:120]!r} in the base is larger than such a file may be", hint="choose another base")
    return data


def newest_python(found: Sequence[Inside]) -> Python:
    """The Python of all platforms of one image; they have the same where the base is one."""
    return max(each.python for each in found)
