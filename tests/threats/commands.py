"""`aweigh` as a command of its own process: run in parallel, and looked at afterwards."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.serving.served import AWEIGH

_AT_ONCE = 2
_MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
"""Started from a small process: what Linux counts of a child begins with the memory of its parent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended."""

    code: int
    said: str
    error: dict[str, Any]
    seconds: float
    peak_bytes: int
    """The most memory that it, or a child that it waited for, has held."""


def run(home: Path, *words: str, **environment: str) -> Done:
    """One command with --json, whose error is read back."""
    started = time.monotonic()
    variables = {"PATH": os.environ["PATH"], "AWEIGH_HOME": str(home), **environment}
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURED, AWEIGH, *words, "--json"], capture_output=True, text=True, timeout=110, env=variables, check=False
    )
    try:
        error = json.loads(ended.stdout).get("error", {})
    except (json.JSONDecodeError, AttributeError):
        error = {}
    said, _, peak = ended.stderr.rstrip().rpartition("\n")
    seconds = time.monotonic() - started
    return Done(code=ended.returncode, said=ended.stdout + said, error=error, seconds=seconds, peak_bytes=int(peak) * 1024)


def run_all(home: Path, commands: Mapping[str, Sequence[str]], **environment: str) -> dict[str, Done]:
    """Several commands at once, by name."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ran = {name: pool.submit(run, home, *words, **environment) for name, words in commands.items()}
        return {name: each.result() for name, each in ran.items()}


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: its mode and its bytes, or where a link points to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, data)
    return found
