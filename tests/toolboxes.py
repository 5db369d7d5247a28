"""Tools of vendors that tests drive, each set in an environment of its own: made once by uv from a hashed list in tests/tools, again when that changes.

A list is made anew with `uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links
--no-annotate --no-header --quiet tests/tools/NAME.in -o tests/tools/NAME.txt`.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aweigh.isolate.installers import find_links, indices

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "tests/tools"
CACHE = ROOT / ".cache/tools"
INSTALL_S = 400


@functools.cache
def toolbox(name: str, python: str = sys.executable) -> Path:
    """The folder `bin` of the environment. Needs the package index where it is not made yet."""
    requirements = LISTS / f"{name}.txt"
    folder = CACHE / name
    wanted = hashlib.sha256(requirements.read_bytes() + python.encode()).hexdigest()
    stamp = folder / "made-from"
    with _locked(name):
        if not (stamp.exists() and stamp.read_text() == wanted):
            uv = str(Path(sys.executable).with_name("uv"))
            _run(uv, "venv", "--quiet", "--clear", "--python", python, str(folder))
            hashed = ("--no-deps", "--require-hashes", "--requirements", str(requirements))
            _run(uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *find_links(), *hashed)
            stamp.write_text(wanted)
    return folder / "bin"


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_S, check=False, env={**os.environ, **indices()})
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"


@functools.cache
def python_of(version: str) -> str:
    """An interpreter of that version; skips the test where the machine has none."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(map(str, versions.glob(f"{version}.*/bin/python{version}")))]
    for python in filter(None, found):
        works = subprocess.run(
            [python, "-c", "import ctypes, sys; print(sys.version)"], capture_output=True, text=True, timeout=30, check=False
        )
        if works.returncode == 0 and works.stdout.startswith(f"{version}."):
            return python
    pytest.skip(f"needs Python {version}")
