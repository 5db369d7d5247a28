"""A device profile: for what a search is, where that is not this machine as it stands. `threads=2,memory=512MiB,features=avx2+fma`."""

import re
from typing import Final

from aweigh.core.errors import InvalidSetting
from aweigh.optimization.passing import Device

_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
_SIZE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([A-Za-z]{0,3})", re.ASCII)
_MAX_THREADS: Final = 1024
_EXAMPLE: Final = "write 'threads=2,memory=512MiB,features=avx2+fma', or some of these"


def parse_device(text: str, features: tuple[str, ...]) -> Device:
    """Read a profile; what it leaves out is one thread, no bound, and this machine's instruction sets (`features`). Raises InvalidSetting."""
    device: dict[str, object] = {"threads": 1, "memory_bytes": 0, "features": features}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, _, value = part.partition("=")
        if name == "threads" and value.isdecimal() and 1 <= int(value) <= _MAX_THREADS:
            device["threads"] = int(value)
        elif name == "memory":
            device["memory_bytes"] = _bytes(part, value)
        elif name == "features":
            device["features"] = _features(part, value, features)
        else:
            raise InvalidSetting(f"--device: {part[:80]!r} is no part of a profile", hint=_EXAMPLE)
    return Device(**device)  # type: ignore[arg-type]  # the fields by their names


def _bytes(part: str, value: str) -> int:
    found = _SIZE.fullmatch(value.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise InvalidSetting(f"--device: {part[:80]!r} is no size", hint=_EXAMPLE)
    return int(float(found[1]) * _UNITS[found[2].upper()])


def _features(part: str, value: str, here: tuple[str, ...]) -> tuple[str, ...]:
    wanted = tuple(feature for feature in value.split("+") if feature)
    absent = [feature for feature in wanted if feature not in here]
    if absent:
        raise InvalidSetting(
            f"--device: {part[:80]!r}: this machine has no {absent[0]}, so nothing can be timed that uses it",
            hint=f"it has: {', '.join(here) or 'none that are known'}; search on a machine like the device",
        )
    return wanted
