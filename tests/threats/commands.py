"""`aweigh` as a command of its own process: run in parallel, and looked at afterwards."""

import dataclasses
import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.serving.served import AWEIGH

_AT_ONCE = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    said: str
    error: dict[str, Any]
    seconds: float


def run(home: Path, *words: str, **environment: str) -> Done:
    """One command with --json, whose error is read back."""
    started = time.monotonic()
    variables = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home), **environment}
    ended = subprocess.run([AWEIGH, *words, "--json"], capture_output=True, text=True, timeout=110, env=variables, check=False)
    try:
        error = json.loads(ended.stdout).get("error", {})
    except (json.JSONDecodeError, AttributeError):
        error = {}
    return Done(code=ended.returncode, said=ended.stdout + ended.stderr, error=error, seconds=time.monotonic() - started)


def run_all(home: Path, commands: Mapping[str, Sequence[str]], **environment: str) -> dict[str, Done]:
    """Several commands at once, by name."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ran = {name: pool.submit(run, home, *words, **environment) for name, words in commands.items()}
        return {name: each.result() for name, each in ran.items()}


def largest_child_bytes() -> int:
    """The most that any process started by this one has held (getrusage(2)); children of children count once they are waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: its mode and its bytes, or where a link points to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, data)
    return found
