"""The fingerprint of the machine that this runs on: whether figures and answers of another one speak for it."""

import functools
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.evidence import Machine

_CPUINFO: Final = Path("/proc/cpuinfo")
_FEATURES: Final = frozenset({
    "amx_bf16", "amx_int8", "amx_tile", "asimd", "asimddp", "asimdhp", "avx", "avx2", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx512bw", "avx512f",
    "avx512vl", "avx_vnni", "bf16", "f16c", "fma", "i8mm", "sse4_1", "sse4_2", "sve", "sve2",
})  # fmt: skip
"""Instruction sets that change answers of numeric libraries; the other hundred flags say nothing here."""


@functools.cache
def machine() -> Machine:
    """This machine."""
    cpu = parse_cpuinfo(_cpuinfo())
    flags = f"{cpu.get('flags', '')} {cpu.get('Features', '')}".split()
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        processor=cpu.get("model name") or cpu.get("Model") or platform.processor() or "unknown",
        cores=_cores(),
        features=tuple(sorted(_FEATURES.intersection(flags))),
        python=platform.python_version(),
    )


def parse_cpuinfo(text: str) -> Mapping[str, str]:
    """The first value of each key of /proc/cpuinfo (every processor of a machine repeats them)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def alike(one: Machine, other: Machine) -> bool:
    """Whether times of the one say anything about the other. The version of Python does not matter to them."""
    return msgspec.structs.replace(one, python="") == msgspec.structs.replace(other, python="")


def _cpuinfo() -> str:
    try:
        return _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
