"""The runner's folder, to be copied to wherever there is a Python: a virtual machine, a device, the base of an image of one's own. See docs/guides/runner.md."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from aweigh.core.errors import Unsupported
from aweigh.deploy.bundle import ENTRY, check_runner, runner_bundle
from aweigh.deploy.commands import Commands
from aweigh.deploy.platforms import WheelTarget, parse_platform, parse_python
from aweigh.deploy.prices import cost_lines
from aweigh.deploy.runner_library import machine_if_known, this_machine
from aweigh.deploy.target import Applied, DeployJob, Finding, Need, Rendered

_CHECK_S: Final = 60.0
_MAX_TEXT: Final = 500
_GLIBC: Final = {10: (2, 31), 11: (2, 36), 12: (2, 36), 13: (2, 41)}
"""Of the Debian that a Python comes from, where another platform is asked for."""


class RunnerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--set` takes."""

    platform: str = ""
    """linux/amd64 or linux/arm64; empty: this machine."""
    python: str = ""
    """Of the machine that it starts on: 3.12; empty: this one."""
    glibc: str = ""
    """Of that machine: 2.34; empty: this one's, or an older Debian's for another platform."""


class Runner:
    """A folder."""

    name: ClassVar[str] = "runner"
    options: ClassVar[type[msgspec.Struct]] = RunnerOptions
    needs: ClassVar[frozenset[Need]] = frozenset()

    def render(self, job: DeployJob) -> Rendered:
        check_runner(job.package.manifest, job.variant)
        target = _target(job)
        files = runner_bundle(job.package, job.variant, target, cache=job.cache, progress=job.progress)
        size = sum(len(content) if isinstance(content, bytes) else content.stat().st_size for content in files.values())
        notes = [f"for {target}: {size / 1e6:.1f} MB, variant '{job.variant.name}' by {job.variant.runtime}"]
        if target.python != sys.version_info[:2]:
            notes.append(
                "without bytecode, which only that Python writes: run `python3 -m compileall` on it there, or the first start is slower"
            )
        return Rendered(
            files=files,
            does=("serves the model on one port once it has answered its golden set",),
            costs=cost_lines(self.name, job),
            commands=(f"python3 -IS {ENTRY} --port 8080",),
            notes=notes,
        )

    def check(self, folder: Path, job: DeployJob) -> list[Finding]:
        """Start it once, where it is made for what runs here: it replays the golden set and answers."""
        if _target(job) != machine_if_known():
            return [Finding(place=ENTRY, message="made for another platform, so it was not started here", fatal=False)]
        command = [sys.executable, "-IS", str(folder / ENTRY), "--once"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_S, check=False, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired) as error:
            return [Finding(place=ENTRY, message=f"it does not start: {error}"[:_MAX_TEXT])]
        return [Finding(place=ENTRY, message=f"it does not start: {done.stderr.strip()[-_MAX_TEXT:]}")] if done.returncode else []

    def apply(self, folder: Path, job: DeployJob, commands: Commands) -> Applied:
        raise Unsupported(
            "a folder is not applied: it is copied", hint=f"copy {folder} to the machine, and run `python3 -IS {ENTRY}` there"
        )

    def remove(self, facts: Mapping[str, str], folder: Path, commands: Commands) -> None:
        """Nothing was made but the folder, which stays."""


def _target(job: DeployJob) -> WheelTarget:
    options = msgspec.convert(job.options, RunnerOptions, from_attributes=True)
    here = machine_if_known() if options.platform else this_machine()
    platform = parse_platform(options.platform) if options.platform or here is None else here.platform
    python = parse_python(options.python) if options.python else (3, sys.version_info.minor)
    glibc = here.glibc if here is not None and platform == here.platform else _GLIBC.get(python[1], (2, 36))
    if options.glibc:
        major, _, minor = options.glibc.partition(".")
        if not (major.isascii() and minor.isascii() and major.isdigit() and minor.isdigit()):
            raise Unsupported(f"{options.glibc[:20]!r} is no version of glibc", hint="write it as 2.34")
        glibc = (int(major), int(minor))
    return WheelTarget(platform=platform, python=python, glibc=glibc)
