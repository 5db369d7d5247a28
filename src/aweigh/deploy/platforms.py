"""Platforms that something is made for: what they are called, and which wheels fit them. Used by `wheels` and `images`; pure."""

import dataclasses
import re
from typing import Final

from aweigh.core.errors import InvalidInput

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
"""Architectures as images have them -> as wheels have them."""
_OLDEST_GLIBC: Final = {"amd64": 5}
_OTHERS_OLDEST: Final = 17
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_PART: Final = re.compile(r"[a-z0-9][a-z0-9._]{0,31}", re.ASCII)
_MANYLINUX: Final = re.compile(r"manylinux_2_(\d{1,3})_")
Glibc = tuple[int, int]
Python = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Platform:
    """An operating system and an architecture, as OCI names them."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def machine(self) -> str:
        """The architecture as the kernel and wheels call it. Raises InvalidInput for one that has no wheels."""
        try:
            return _MACHINES[self.architecture]
        except KeyError:
            raise InvalidInput(f"{self} has no wheels", hint=f"architectures with wheels: {', '.join(_MACHINES)}") from None

    def as_dict(self) -> dict[str, object]:
        """As an OCI descriptor says it."""
        return {"os": self.os, "architecture": self.architecture, **({"variant": self.variant} if self.variant else {})}

    def wheel_platforms(self, glibc: Glibc) -> list[str]:
        """The platform tags that a system of this glibc takes, the newest first."""
        machine = self.machine
        found = []
        for minor in range(glibc[1], _OLDEST_GLIBC.get(self.architecture, _OTHERS_OLDEST) - 1, -1):
            found.append(f"manylinux_2_{minor}_{machine}")
            if minor in _LEGACY:
                found.append(f"{_LEGACY[minor]}_{machine}")
        return [*found, f"linux_{machine}"]


LINUX_AMD64: Final = Platform()
LINUX_ARM64: Final = Platform(architecture="arm64")


def parse_platform(text: str) -> Platform:
    """Read `linux/amd64`, `linux/arm64/v8`, or an architecture alone. Raises InvalidInput."""
    parts = text.strip().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidInput(f"{text[:80]!r} is not a platform", hint="write it as linux/amd64 or linux/arm64; several separated by commas")
    if parts[0] != "linux" or parts[1] not in _MACHINES:
        raise InvalidInput(f"nothing can be made for {text[:80]!r}", hint=f"linux, and one of {', '.join(_MACHINES)}")
    if parts[1:] == ["arm64", "v8"]:
        parts = parts[:2]  # the same to everybody, and mostly left out
    return Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else "")


def parse_platforms(text: str) -> tuple[Platform, ...]:
    """Several, separated by commas, each once. Raises InvalidInput."""
    return tuple(dict.fromkeys(parse_platform(part) for part in text.split(",")))


def parse_python(text: str) -> Python:
    """Read `3.11`. Raises InvalidInput."""
    found = re.fullmatch(r"3\.(\d{1,2})", text.strip(), re.ASCII)
    if found is None:
        raise InvalidInput(f"{text[:40]!r} is not a version of Python", hint="write it as 3.12")
    return 3, int(found[1])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WheelTarget:
    """What wheels must fit: a platform, its Python, its glibc."""

    platform: Platform
    python: Python
    glibc: Glibc

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python[0]}.{self.python[1]}, glibc {self.glibc[0]}.{self.glibc[1]}"

    def rank(self, filename: str) -> int | None:
        """How well a wheel fits, by its file name: 0 is best; None where it does not."""
        parts = filename.removesuffix(".whl").split("-")
        if len(parts) not in (5, 6) or not filename.endswith(".whl"):
            return None
        interpreters, abis, platforms = (part.split(".") for part in parts[-3:])
        known = self._tags()
        ranks = [known[tag] for one in interpreters for abi in abis for place in platforms if (tag := (one, abi, place)) in known]
        return min(ranks, default=None)

    def _tags(self) -> dict[tuple[str, str, str], int]:
        minor = self.python[1]
        places = self.platform.wheel_platforms(self.glibc)
        tags = [(f"cp3{minor}", abi, place) for abi in (f"cp3{minor}", "abi3", "none") for place in places]
        tags += [(f"cp3{older}", "abi3", place) for older in range(minor - 1, 1, -1) for place in places]
        plain = [f"py3{minor}", "py3", *(f"py3{older}" for older in range(minor - 1, -1, -1))]
        tags += [(name, "none", place) for name in plain for place in places]
        tags += [(name, "none", "any") for name in (f"cp3{minor}", *plain)]
        return {tag: at for at, tag in enumerate(tags)}


def needed_glibc(filename: str) -> Glibc | None:
    """The least glibc that a wheel states; None where it states none."""
    platforms = filename.removesuffix(".whl").rpartition("-")[2].split(".")
    stated = [int(found[1]) for place in platforms if (found := _MANYLINUX.match(place))]
    stated += [minor for minor, name in _LEGACY.items() for place in platforms if place.startswith(f"{name}_")]
    return (2, min(stated)) if stated else None
