"""What must be installed where a package runs, exactly: read from the lists that `make lock` writes. Used by `wheels` and `images`.

A list says of each library who needs it, so that the libraries of one runtime are found without asking an index.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from aweigh.core.errors import InternalError, Unsupported
from aweigh.core.package import Variant
from aweigh.core.plugins import plugin
from aweigh.deploy.platforms import WheelTarget

LOCKS: Final = Path(__file__).with_name("locks")
SERVER: Final = ("click", "hpack", "httptools", "msgspec", "numpy", "orjson", "protobuf", "pysimdjson", "rich", "uvloop")
"""What `aweigh serve` itself needs, whatever the runtime."""
_DISTRIBUTIONS: Final = {"sklearn": "scikit-learn", "xgboost": "xgboost-cpu", "ai_edge_litert": "ai-edge-litert", "PIL": "pillow"}
"""Import name -> distribution, where they differ."""
_LINE: Final = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\#]+?))?\s*(?:\\|$)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_OURS: Final = "aweigh (pyproject.toml)"
_TERM: Final = re.compile(r"\s*(\(|\)|and\b|or\b|[a-z_]+\s*(?:==|!=|>=|<=|>|<)\s*'[^']*')")
_COMPARISON: Final = re.compile(r"([a-z_]+)\s*(==|!=|>=|<=|>|<)\s*'([^']*)'")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One library in one exact version, the digests that its files may have, and who needs it."""

    name: str
    version: str
    hashes: frozenset[str] = frozenset()
    marker: str = ""
    needed_by: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def runtime_pins(variants: Iterable[Variant], target: WheelTarget, *, server: bool = True) -> tuple[Pin, ...]:
    """The libraries that these variants need, with the server's own where there is one, each once. Raises Unsupported for a runtime that has no list."""
    roots = set(SERVER) if server else {"numpy"}
    for variant in variants:
        for kind, name in (("runtime", variant.runtime), *([("step", variant.step.kind)] if variant.step else [])):
            libraries = plugin(kind, name).libraries
            roots |= {_DISTRIBUTIONS.get(library, library.replace("_", "-")) for library in libraries}
    pins = read_lock(LOCKS / "serving.txt")
    known = {pin.name for pin in pins}
    unknown = sorted(roots - known)
    if unknown:
        raise Unsupported(
            f"no list of exact versions holds {', '.join(unknown)}",
            hint="choose a variant of another runtime: 'aweigh show NAME' lists them; 'aweigh optimize' makes more",
        )
    return closure(pins, roots, target)


def closure(pins: Iterable[Pin], roots: Iterable[str], target: WheelTarget) -> tuple[Pin, ...]:
    """The roots and everything that they need on the target, by name."""
    here = [pin for pin in pins if holds(pin.marker, target)]
    wanted = set(roots)
    while True:
        more = {pin.name for pin in here if pin.needed_by & wanted} - wanted
        if not more:
            return tuple(sorted((pin for pin in here if pin.name in wanted), key=lambda pin: pin.name))
        wanted |= more


@functools.cache
def read_lock(path: Path) -> tuple[Pin, ...]:
    """The pins of a list."""
    found: list[Pin] = []
    chunks = re.split(r"^(?=[A-Za-z0-9])", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for chunk in chunks:
        line = _LINE.match(chunk)
        if line is None:
            continue
        via = re.search(r"# via (.+)", chunk)
        names = frozenset(name.strip() for name in via[1].split(",")) - {_OURS} if via else frozenset()
        found.append(
            Pin(name=line[1], version=line[2], marker=(line[3] or "").strip(), hashes=frozenset(_HASH.findall(chunk)), needed_by=names)
        )
    return tuple(found)


def holds(marker: str, target: WheelTarget) -> bool:
    """Whether a marker of a list holds on the target: comparisons joined by `and`, `or` and brackets."""
    if not marker:
        return True
    words = _TERM.findall(marker)
    if "".join(words).replace(" ", "") != marker.replace(" ", ""):
        raise InternalError(f"the marker {marker!r} of a list cannot be read")
    minor = target.python[1]
    values = {
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}",
        "sys_platform": target.platform.os,
        "platform_system": target.platform.os.capitalize(),
        "platform_machine": target.platform.machine,
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return _either(list(reversed(words)), values)


def _either(words: list[str], values: Mapping[str, str]) -> bool:
    found = _both(words, values)
    while words and words[-1] == "or":
        words.pop()
        found = _both(words, values) or found
    return found


def _both(words: list[str], values: Mapping[str, str]) -> bool:
    found = _one(words, values)
    while words and words[-1] == "and":
        words.pop()
        found = _one(words, values) and found
    return found


def _one(words: list[str], values: Mapping[str, str]) -> bool:
    word = words.pop()
    if word == "(":
        found = _either(words, values)
        words.pop()
        return found
    comparison = _COMPARISON.fullmatch(word)
    if comparison is None or comparison[1] not in values:
        raise InternalError(f"{word!r} in a marker of a list cannot be read")
    left, right = values[comparison[1]], comparison[3]
    if comparison[1].startswith("python"):
        mine, other = _numbers(left), _numbers(right)
        return {"==": mine == other, "!=": mine != other, ">=": mine >= other, "<=": mine <= other, ">": mine > other, "<": mine < other}[
            comparison[2]
        ]
    return (left == right) if comparison[2] == "==" else (left != right)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
