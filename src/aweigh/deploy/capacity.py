"""How much one core of a server answers: measured by `aweigh bench --find-capacity`, else reckoned from a variant's evidence, and said which.

Targets size by it: replicas, concurrency, memory. A figure that was reckoned is never shown as measured.
"""

import math
from pathlib import Path
from typing import Final

import msgspec

from aweigh.core.errors import FileMissing, InvalidFile
from aweigh.core.objective import parse_objective
from aweigh.core.package import Variant
from aweigh.core.protocols import PackageHandle

_REQUEST_US: Final = 60.0
"""What the server adds to a call of the model, of one core's time (docs/performance.md)."""
_SERVER_MIB: Final = 80
"""What a server takes before it has a model."""
HEADROOM: Final = 0.7
"""Share of the capacity that is planned with: what is asked comes in bursts."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Of one server process with one core."""

    requests_per_second: float
    latency_ms: float
    """Of one request, or of the objective it was searched under."""
    memory_mib: int
    start_s: float
    measured: bool
    source: str
    """Where the figures come from, for people."""

    def cores(self, requests_per_second: float) -> int:
        """Cores that a load takes, with headroom; at least one."""
        return max(1, math.ceil(requests_per_second / (self.requests_per_second * HEADROOM)))

    @property
    def concurrency(self) -> int:
        """Requests in flight at which one core is full (Little's law), at least one."""
        return max(1, round(self.requests_per_second * self.latency_ms / 1000))


class _Rate(msgspec.Struct, frozen=True):
    rate: float


class _Cores(msgspec.Struct, frozen=True):
    cores: float | None = None


class _Report(msgspec.Struct, frozen=True):
    """The part of what `aweigh bench --find-capacity … --json` prints that is read here."""

    capacity: _Rate
    objective: str = ""
    sizing: _Cores | None = None


def measured(path: Path, package: PackageHandle, variant: Variant) -> Capacity:
    """What `aweigh bench --find-capacity … --json` wrote to a file, by core. Raises FileMissing, InvalidFile."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=_Report)
    except OSError as error:
        raise FileMissing(
            f"{path} cannot be read: {error.strerror}", hint="give the file that `aweigh bench --json` was written to"
        ) from error
    except msgspec.DecodeError as error:
        hint = "make it with `aweigh bench URL --find-capacity 'p99 <= 20ms' --json > capacity.json`"
        raise InvalidFile(f"{path} holds no capacity: {error}", hint=hint) from error
    if not report.capacity.rate > 0:
        raise InvalidFile(f"{path}: no rate held the objective {report.objective!r}", hint="search with a longer latency")
    cores = (report.sizing.cores if report.sizing else None) or 1.0
    from_evidence = reckoned(package, variant)
    latency_ms = parse_objective(report.objective).limit_s * 1000 if report.objective else from_evidence.latency_ms
    return msgspec.structs.replace(
        from_evidence,
        requests_per_second=report.capacity.rate / cores,
        latency_ms=latency_ms,
        measured=True,
        source=f"measured: {report.capacity.rate:.0f} requests/s on {cores:g} cores within {report.objective or 'no bound'} ({path.name})",
    )


def reckoned(package: PackageHandle, variant: Variant) -> Capacity:
    """From the variant's evidence: its time at one row, what the server adds, its files' size."""
    figures = variant.evidence.figures if variant.evidence else {}
    call_us = figures.get("latency_us_b1", 1000.0)
    sizes = {file.path: file.size_bytes for file in package.manifest.files}
    size_mib = sum(sizes.get(file, 0) for file in variant.files) / 2**20
    load_s = figures.get("load_ms", 100.0) / 1000
    return Capacity(
        requests_per_second=1e6 / (call_us + _REQUEST_US),
        latency_ms=(call_us + _REQUEST_US) / 1000,
        memory_mib=math.ceil(_SERVER_MIB + 2 * size_mib),
        start_s=0.3 + load_s,
        measured=False,
        source=f"reckoned from the evidence of variant '{variant.name}'; `aweigh bench --find-capacity` measures it",
    )
