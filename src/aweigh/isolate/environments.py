"""Environments for libraries that are not installed where aweigh is: each made once from a list of exact versions and digests, and kept.

Used by packing for a source's framework, and by runtimes for what such a framework alone can run. The caller's own environment is never touched: children are
started with the interpreter of another one, which sees aweigh itself and nothing else of the caller's.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from aweigh.core.errors import MissingLibrary
from aweigh.core.protocols import Progress, quiet
from aweigh.isolate.installers import install
from aweigh.isolate.process import Home

LOCKS: Final = Path(__file__).with_name("locks")
_MAKING: Final = ".making-"
_MARK: Final = "pyvenv.cfg"
_PACKAGE: Final = Path(__file__).resolve().parents[1]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An environment on disk. `current` where this aweigh would use it as it is."""

    name: str
    folder: str
    size_bytes: int
    current: bool
    used_at: float
    """When a child was last started in it, in seconds since 1970."""
    in_use: bool
    """Whether a process that is running has children in it, or may start some."""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What pruning removed, and what it left because somebody is using it."""

    removed: list[Kept]
    left: list[Kept]


class Environments:
    """Those under `folder`. `allowed` is False where none may be made; those that are there are used all the same."""

    def __init__(self, folder: Path, *, allowed: bool = True) -> None:
        self.folder = folder
        self.allowed = allowed
        self.seconds: dict[str, float] = {}
        """What finding, or making, those took that were asked for here."""

    def python(self, name: str, *, progress: Progress = quiet) -> Path:
        """The interpreter of an environment; made first where it is not there. Raises MissingLibrary that says why it cannot be."""
        began = monotonic()
        place = self._place(name)
        interpreter = place / "bin" / "python"
        if not interpreter.exists():
            if not self.allowed:
                raise MissingLibrary(
                    f"the libraries of '{name}' are not installed, and no environment may be made for them",
                    hint=f"run 'aweigh env make {name}' once, or leave out --no-isolate",
                )
            self._make(name, place, progress)
        with contextlib.suppress(OSError):  # somebody else's folder
            os.utime(place)
        self.seconds[name] = self.seconds.get(name, 0.0) + monotonic() - began
        return interpreter

    def home(self, name: str, *, progress: Progress = quiet) -> Home:
        """Where to start children that need the environment, which nobody removes as long as this process runs. Raises as `python` does."""
        while True:
            python = self.python(name, progress=progress)
            if _hold(python.parents[1]):
                return Home(str(python), str(self.code()))

    def here(self) -> Home:
        """This process's own interpreter, for a child that needs one of these for a part of what it does."""
        return Home(sys.executable, environments=str(self.folder))

    def has(self, name: str) -> bool:
        """Whether it is there already."""
        return (self._place(name) / "bin" / "python").exists()

    def code(self) -> Path:
        """A folder that holds aweigh and nothing else: the one path of the caller's that children in other environments are given."""
        folder = self.folder / f"code-{hashlib.sha256(str(_PACKAGE).encode()).hexdigest()[:12]}"
        link = folder / _PACKAGE.name
        if not link.is_symlink():
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                link.symlink_to(_PACKAGE, target_is_directory=True)
        return folder

    def kept(self) -> list[Kept]:
        """What is on disk, by name."""
        if not self.folder.is_dir():
            return []
        found = []
        for folder in sorted(self.folder.iterdir()):
            if folder.is_dir() and (folder / _MARK).is_file() and not folder.name.startswith(_MAKING):
                name = folder.name.rpartition("-")[0]
                current = lock_of(name).is_file() and self._place(name) == folder
                size, used_at = _size(folder), folder.stat().st_mtime
                with _alone(folder) as alone:
                    in_use = not alone
                found.append(Kept(name=name, folder=str(folder), size_bytes=size, current=current, used_at=used_at, in_use=in_use))
        return found

    def prune(self, *, everything: bool = False) -> Pruned:
        """Remove those that this aweigh would not use, or all of them, and what was left half made; never what somebody is using."""
        removed: list[Kept] = []
        left: list[Kept] = []
        for kept in self.kept():
            if everything or not kept.current:
                with self._locked(kept.name), _alone(Path(kept.folder)) as alone:
                    (removed if alone else left).append(kept)
                    if alone:
                        _remove(Path(kept.folder))
        for name in {folder.name.removeprefix(_MAKING).rpartition("-")[0] for folder in self.folder.glob(f"{_MAKING}*")}:
            with self._locked(name):
                self._clear(name)
        return Pruned(removed=removed, left=left)

    def _place(self, name: str) -> Path:
        lock = lock_of(name)
        if not lock.is_file():
            raise MissingLibrary(f"aweigh has no environment named '{name}'", hint=f"there are: {', '.join(names())}")
        lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        made_of = "\n".join([*lines, sys.version, platform.machine(), sys.platform])
        return self.folder / f"{name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    def _make(self, name: str, place: Path, progress: Progress) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(name):
            if (place / "bin" / "python").exists():
                return  # somebody else made it while this one waited
            self._clear(name)  # whoever was making it has been killed: the lock is free
            _remove(place)  # its interpreter was taken away
            making = Path(tempfile.mkdtemp(prefix=f"{_MAKING}{name}-", dir=self.folder))
            try:
                progress(f"making an environment for {name}, once")
                install(name, lock_of(name), making)
                making.chmod(0o755)
                making.rename(place)
            except BaseException:
                _remove(making)
                raise

    def _clear(self, name: str) -> None:
        """Remove what was left half made or half removed. Under the lock."""
        for folder in self.folder.glob(f"{_MAKING}{name}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.folder / f".{name}.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def names() -> list[str]:
    """The environments that aweigh can make."""
    return sorted(path.stem for path in LOCKS.glob("*.txt"))


def lock_of(name: str) -> Path:
    """The list of exact versions and digests of an environment."""
    return LOCKS / f"{name}.txt"


def pinned(name: str, libraries: tuple[str, ...]) -> tuple[str, ...]:
    """The exact requirements of an environment for these distributions, as its list states them."""
    found: list[str] = []
    for line in lock_of(name).read_text(encoding="utf-8").splitlines():
        requirement = line.split(" ")[0]
        if requirement.partition("==")[0] in libraries and not any(
            each.startswith(f"{requirement.partition('==')[0]}==") for each in found
        ):
            found.append(requirement)
    return tuple(found)


_held: Final[dict[Path, int]] = {}
_held_lock: Final = threading.Lock()


def _hold(place: Path) -> bool:
    """Keep the environment from being removed until this process ends: a shared lock on a file of it. False where it has just been removed."""
    with _held_lock, contextlib.suppress(OSError):  # another's folder, a disk without locks: nobody is kept from removing it
        found = os.open(place / _MARK, os.O_RDONLY | os.O_CLOEXEC)
        if place in _held and os.path.sameopenfile(found, _held[place]):
            os.close(found)
        else:
            if place in _held:
                os.close(_held[place])
            _held[place] = found
            fcntl.flock(found, fcntl.LOCK_SH)
    return (place / "bin" / "python").exists()


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Whether nobody holds the environment; nobody begins to, meanwhile."""
    with contextlib.ExitStack() as until:
        yield _taken(place, until)


def _taken(place: Path, until: contextlib.ExitStack) -> bool:
    try:
        mark = until.enter_context((place / _MARK).open("rb"))
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # gone already, or a disk without locks
        return True
    return True


def _size(folder: Path) -> int:
    """Bytes of the files in it, those that it shares with an installer's cache included."""
    found = 0
    for root, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):
                found += os.lstat(os.path.join(root, file)).st_size  # noqa: PTH118  # tens of thousands of them
    return found


def _remove(folder: Path) -> None:
    """All of it, whatever dies meanwhile: first out of the way, so that nobody finds half of it."""
    aside = folder.with_name(f"{_MAKING}{folder.name.removeprefix(_MAKING)}")
    with contextlib.suppress(OSError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
