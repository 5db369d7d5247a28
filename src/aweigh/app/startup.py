"""The start-up budget: what each part of a start takes on this machine, from the process to the first answer, by the path that a target starts by."""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from aweigh.app.models import open_model
from aweigh.core.errors import ChildDied, Unsupported
from aweigh.core.package import Variant
from aweigh.core.plugins import plugin
from aweigh.core.protocols import PackageHandle, Progress, quiet
from aweigh.core.settings import Settings
from aweigh.deploy.bundle import ENTRY, check_runner, runner_bundle
from aweigh.deploy.folder import write_files
from aweigh.deploy.runner_library import this_machine
from aweigh.engine.variants import choose_variant, environments_of

BY_RUNNER: Final = frozenset({"runner", "lambda", "cloud-functions", "azureml"})
"""Targets that start by the runner where the package allows it; all others by the server."""
PARTS: Final = ("start", "fetch", "import", "load", "replay", "first answer")
"""The last is missing where the runner's package has FP16, which has no form in JSON."""
_TIMES: Final = 5
_LIMIT_S: Final = 120.0
_MAX_TEXT: Final = 400


class Startup(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of several starts, in milliseconds."""

    target: str
    path: str
    """'runner' or 'server'."""
    why: str
    parts: dict[str, float]
    total_ms: float
    python_ms: float
    """A bare `python -c pass`, taken in turns with the starts."""


def startup(settings: Settings, model: str, target: str, *, variant: str = "", progress: Progress = quiet) -> Startup:
    """Start the model several times as the target would. Raises Unsupported for a target that there is not, ModelNotFound, and what a start says."""
    plugin("target", target)
    package = open_model(settings, model, progress=progress)
    chosen = choose_variant(package.manifest, variant, environments=environments_of(settings))
    path, why = _path(package, chosen, target)
    with tempfile.TemporaryDirectory() as name:
        if path == "runner":
            write_files(Path(name), runner_bundle(package, chosen, this_machine(), cache=settings.home_folder / "cache", progress=progress))
            start = partial(_of_runner, Path(name))
        else:
            start = partial(_of_server, settings, model, chosen.name)
        progress(f"starting it {_TIMES} times")
        starts, bare = [], []
        for _ in range(_TIMES):
            bare.append(_bare())
            starts.append(start())
    parts: dict[str, float] = {part: round(median(each[part] for each in starts), 2) for part in PARTS if part in starts[0]}
    return Startup(target=target, path=path, why=why, parts=parts, total_ms=round(sum(parts.values()), 2), python_ms=round(median(bare), 2))


def _path(package: PackageHandle, variant: Variant, target: str) -> tuple[str, str]:
    if target not in BY_RUNNER:
        return "server", f"target '{target}' starts the server"
    try:
        check_runner(package.manifest, variant)
    except Unsupported as error:
        return "server", f"the runner cannot: {error.message}"
    return "runner", f"target '{target}' starts the runner"


def _of_runner(folder: Path) -> dict[str, float]:
    told: dict[str, float] = json.loads(_run([sys.executable, "-IS", str(folder / ENTRY), "--once", "--parts"]))["parts"]
    return told


def _of_server(settings: Settings, model: str, variant: str) -> dict[str, float]:
    home = str(settings.home_folder)
    told: dict[str, float] = json.loads(
        _run([sys.executable, "-m", "aweigh.app.started", str(time.monotonic()), home, model, variant]).splitlines()[-1]
    )
    return told


def _bare() -> float:
    began = time.monotonic()
    _run([sys.executable, "-c", "pass"])
    return (time.monotonic() - began) * 1000


def _run(command: list[str]) -> str:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, stdin=subprocess.DEVNULL, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ChildDied(f"a start took longer than {_LIMIT_S:.0f} s", hint="is the machine busy?") from error
    if done.returncode:
        raise ChildDied(f"a start failed: {done.stderr.strip()[-_MAX_TEXT:]}", hint="'aweigh verify' shows what answers otherwise here")
    return done.stdout
