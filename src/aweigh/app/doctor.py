"""The check-up: what this machine and this installation can do, and what is in the way. Changes nothing but one file it takes away again."""

import enum
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import msgspec

from aweigh.core.errors import AweighError
from aweigh.core.plugins import Plugin, load, plugins
from aweigh.core.settings import Settings
from aweigh.core.versions import of_libraries

if TYPE_CHECKING:
    from aweigh.runtimes.onnxruntime import OnnxRuntime

GIB: Final = 1024**3
LOW_DISK_BYTES: Final = GIB
KINDS: Final = ("framework", "runtime", "dialect")
_FEATURES: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "sve")


class Verdict(enum.StrEnum):
    """`problem` is what the exit code tells of; `note` and `missing` only matter to some."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report."""

    check: str
    verdict: Verdict
    value: str
    hint: str = ""


def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order a person wants to read them."""
    machine = [_python(), _platform(), _processor(), _memory(settings), _home(settings), _disk(settings), _port(settings), _event_loop()]
    return machine + [_plugin(row) for kind in KINDS for row in plugins(kind)] + _providers()


def _python() -> Finding:
    verdict = Verdict.OK if sys.version_info >= (3, 11) else Verdict.PROBLEM
    return Finding(check="python", verdict=verdict, value=f"{platform.python_version()} at {sys.executable}")


def _platform() -> Finding:
    proven = sys.platform == "linux"
    hint = "" if proven else "aweigh runs and is tested on Linux"
    return Finding(check="platform", verdict=Verdict.OK if proven else Verdict.NOTE, value=platform.platform(), hint=hint)


def _processor() -> Finding:
    words = set(_cpu_flags())
    features = " ".join(name for name in _FEATURES if name in words) or "no vector extensions known"
    return Finding(check="processor", verdict=Verdict.OK, value=f"{platform.machine()}, {_cores()} cores, {features}")


def _cpu_flags() -> list[str]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as stream:
            return next((line.split(":", 1)[1].split() for line in stream if line.lower().startswith(("flags", "features"))), [])
    except OSError:
        return []


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory(settings: Settings) -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return Finding(check="memory", verdict=Verdict.NOTE, value="unknown on this system")
    enough = free >= settings.child_memory_bytes
    hint = "" if enough else "less than child_memory_bytes: conversions may run out of memory; lower that setting or free memory"
    return Finding(check="memory", verdict=Verdict.OK if enough else Verdict.NOTE, value=f"{free / GIB:.1f} GiB available", hint=hint)


def _home(settings: Settings) -> Finding:
    folder = settings.home_folder
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        hint = "choose another folder with --home or AWEIGH_HOME"
        return Finding(check="home", verdict=Verdict.PROBLEM, value=f"{folder}: {error.strerror or error}", hint=hint)
    return Finding(check="home", verdict=Verdict.OK, value=f"{folder}" if place == folder else f"{folder} (made when first used)")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_existing(settings.home_folder)).free
    enough = free >= LOW_DISK_BYTES
    hint = "" if enough else "free some space, or choose another folder with --home"
    return Finding(check="disk", verdict=Verdict.OK if enough else Verdict.PROBLEM, value=f"{free / GIB:.1f} GiB free at home", hint=hint)


def _port(settings: Settings) -> Finding:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        value = f"{settings.host}:{settings.port}: {error.strerror or error}"
        return Finding(
            check="port", verdict=Verdict.NOTE, value=value, hint="serve on another one: aweigh serve NAME --port 0 takes a free one"
        )
    return Finding(check="port", verdict=Verdict.OK, value=f"{settings.host}:{settings.port} is free")


def _event_loop() -> Finding:
    if importlib.util.find_spec("uvloop") is None:
        return Finding(check="event loop", verdict=Verdict.NOTE, value="asyncio", hint="pip install uvloop makes serving faster")
    return Finding(check="event loop", verdict=Verdict.OK, value=f"uvloop {importlib.metadata.version('uvloop')}")


def _plugin(row: Plugin) -> Finding:
    check = f"{row.kind} {row.name}"
    missing = row.missing()
    if missing:
        what = f"aweigh[{row.extra}]" if row.extra else " ".join(missing)
        hint = f"pip install '{what}'" + (f", or 'aweigh env make {row.environment}'" if row.environment else "")
        return Finding(check=check, verdict=Verdict.MISSING, value=f"needs {', '.join(missing)}", hint=hint)
    value = ", ".join(f"{library} {_version(library)}" for library in row.libraries) or "built in"
    return Finding(check=check, verdict=Verdict.NOTE if row.experimental else Verdict.OK, value=value, hint=row.experimental)


def _providers() -> list[Finding]:
    """Execution providers of ONNX Runtime: a matter of which build of it is installed, not of a library beside it."""
    try:
        runtime = cast("type[OnnxRuntime]", load("runtime", "onnxruntime"))
    except AweighError:
        return []  # the runtime's own line says what is wrong
    there = runtime.providers()
    return [_provider(row, *there[row.name]) for row in plugins("provider")]


def _provider(row: Plugin, there: bool, install: str) -> Finding:
    check = f"provider {row.name}"
    if not there:
        hint = f"{install}; {row.experimental}" if row.experimental else install
        return Finding(check=check, verdict=Verdict.MISSING, value="not in this build of ONNX Runtime", hint=hint)
    return Finding(check=check, verdict=Verdict.NOTE if row.experimental else Verdict.OK, value="built in", hint=row.experimental)


def _version(library: str) -> str:
    return of_libraries([library]).get(library, "of unknown version")
