"""Fills a fresh environment with a list of exact versions and digests: by uv, else by Python's own venv and pip. Called by `environments` alone.

uv is told what pip is configured with, which it does not read; what a person has set for uv itself stands.
"""

import configparser
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aweigh.core.errors import MissingLibrary

INSTALL_S: Final = 1800.0
_TAIL: Final = 600
_DEFAULT_INDEX: Final = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_FURTHER_INDICES: Final = ("UV_INDEX", "UV_EXTRA_INDEX_URL")


class _Failed(Exception):
    """What an installer said when it could not."""


def install(name: str, listed: Path, folder: Path) -> None:
    """Make the environment in the folder, which is empty. Raises MissingLibrary that tells why each installer failed."""
    why = []
    program = uv()
    if program:
        try:
            _by_uv(program, listed, folder)
        except _Failed as error:
            why.append(f"uv: {error}")
        else:
            return
    try:  # slower by far, there wherever Python is, and reads all that pip is configured with
        _by_pip(listed, folder)
    except _Failed as error:
        why.append(f"pip: {error}")
        raise MissingLibrary(f"the environment '{name}' cannot be made: {'; '.join(why)}", hint=_hint(" ".join(why))) from error


def uv() -> str | None:
    """The program, beside this interpreter or on the path."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("uv", path=os.pathsep.join((beside, os.environ.get("PATH", ""))))


def _by_uv(program: str, listed: Path, folder: Path) -> None:
    environment = {"UV_PYTHON_DOWNLOADS": "never", **indices(), **_certificates()}
    _run([program, "venv", "--quiet", "--clear", "--python", _base_interpreter(), str(folder)], environment)
    words = [program, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *find_links()]
    words += ["--no-deps", "--require-hashes", "--requirements", str(listed)]
    words.append("--compile-bytecode")  # once here, not again by every child where nobody may write beside a library: half of a pack's time
    try:  # its cache may have everything; whether it has is known in an instant, and needs nobody
        _run([*words, "--offline"], environment)
    except _Failed:
        _run(words, environment)


def _by_pip(listed: Path, folder: Path) -> None:
    _run([_base_interpreter(), "-m", "venv", "--clear", str(folder)], {})
    words = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--requirement",
        str(listed),
    ]
    _run([str(folder / "bin" / "python"), *words], {})


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False, env={"PIP_RETRIES": "1", **os.environ, **environment}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Failed(str(error)[:_TAIL]) from error
    if done.returncode:
        raise _Failed((done.stderr or done.stdout).strip()[-_TAIL:])


def _hint(said: str) -> str:
    if "torch" in said and "+cpu" in said:
        return (
            "PyTorch's index of builds for processors must be among those that pip is configured with (PIP_EXTRA_INDEX_URL), "
            "or the wheel in a folder that PIP_FIND_LINKS names"
        )
    return "it needs a package index, once; or a folder of its wheels, named in PIP_FIND_LINKS"


def _base_interpreter() -> str:
    """The interpreter that this environment was itself made with."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def find_links() -> list[str]:
    """Folders of wheels that pip is told to look in, as words for uv."""
    said = " ".join([os.environ.get("PIP_FIND_LINKS", ""), *_configured("find-links")])
    return [word for place in dict.fromkeys(said.split()) for word in ("--find-links", place)]


def indices() -> dict[str, str]:
    """The indices that pip is told to ask, as variables for uv: addresses may hold a password, which belongs into no command line.

    The best match of all of them is taken, as pip does; that is safe because every file is pinned by its digest.
    """
    found: dict[str, str] = {}
    if not any(os.environ.get(name) for name in _DEFAULT_INDEX):
        first = os.environ.get("PIP_INDEX_URL") or next(iter(_configured("index-url")), "")
        found |= {"UV_DEFAULT_INDEX": first} if first else {}
    if not any(os.environ.get(name) for name in _FURTHER_INDICES):
        further = os.environ.get("PIP_EXTRA_INDEX_URL") or next(iter(_configured("extra-index-url")), "")
        found |= {"UV_INDEX": " ".join(further.split())} if further.split() else {}
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **found} if found else {}


def _certificates() -> dict[str, str]:
    """The authorities that pip trusts."""
    said = os.environ.get("PIP_CERT") or next(iter(_configured("cert")), "")
    return {"SSL_CERT_FILE": said} if said and not os.environ.get("SSL_CERT_FILE") else {}


def _configured(name: str) -> list[str]:
    """What pip's configuration files say, the most specific first."""
    named = os.environ.get("PIP_CONFIG_FILE", "")
    found = []
    for file in (
        *([Path(named)] if named else []),
        Path(sys.prefix) / "pip.conf",
        Path("~/.config/pip/pip.conf").expanduser(),
        Path("~/.pip/pip.conf").expanduser(),
        Path("/etc/pip.conf"),
    ):
        read = configparser.RawConfigParser()
        with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
            read.read(file)
        found += [text for section in ("install", "global") if (text := read.get(section, name, fallback="").strip())]
    return found
