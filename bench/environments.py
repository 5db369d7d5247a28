"""A peer's own environment: made once by uv from the pinned requirements beside the peer, used again until they change.

Called by peers when they are started. Must never touch the environment that runs the benchmark.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from aweigh.isolate.installers import find_links, indices
from bench.processes import BenchError

ROOT: Final = Path(__file__).parent.parent
CACHE: Final = ROOT / ".cache" / "bench"
PEERS: Final = Path(__file__).parent / "peers"
INSTALL_S: Final = 900.0
_STAMP: Final = "made-from"


def python(name: str, home: Path = PEERS) -> Path:
    """The interpreter of the environment; made first where it is missing or its requirements changed. Raises BenchError."""
    requirements = home / name / "requirements.txt"
    folder = CACHE / name
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    with _locked(name):
        stamp = folder / _STAMP
        if not (stamp.exists() and stamp.read_text() == wanted):
            _make(folder, requirements)
            stamp.write_text(wanted)
    return folder / "bin" / "python"


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _make(folder: Path, requirements: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise BenchError("uv is missing, which makes the environments of peers: run `make setup`")
    print(f"bench: making {folder.relative_to(ROOT)} (once; needs the package index)", file=sys.stderr, flush=True)
    for arguments in (
        ["venv", "--clear", "--python", sys.executable, str(folder)],
        ["pip", "install", "--python", str(folder / "bin" / "python"), "--no-deps", *find_links(), "--requirements", str(requirements)],
    ):
        command = ["nice", uv, *arguments, "--quiet"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False, env={**os.environ, **indices()})
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{folder.name} could not be installed within {INSTALL_S:.0f} s") from error
        if done.returncode:
            raise BenchError(f"{folder.name} cannot be installed: {done.stderr.strip()[-800:]}")


def site_packages(name: str) -> Path:
    return CACHE / name / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def versions(name: str, home: Path = PEERS) -> dict[str, str]:
    """What the environment holds of the packages that requirements.in asks for, or requirements.txt where there is no other."""
    asked = home / name / "requirements.in"
    lines = (asked if asked.exists() else asked.with_suffix(".txt")).read_text().splitlines()
    wanted = [line.partition("==")[0].partition("[")[0] for line in lines if "==" in line]
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions(path=[str(site_packages(name))])}
    return {package: found.get(package.lower(), "not installed") for package in wanted}


def quotes(name: str, home: Path = PEERS) -> list[Mapping[str, str]]:
    """The settings that are used, each with the words of the peer's own documentation and their address."""
    settings: list[Mapping[str, str]] = tomllib.loads((home / name / "settings.toml").read_text())["setting"]
    return settings
