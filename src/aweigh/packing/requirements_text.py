"""Holds a person's requirements.txt against what is installed here. Called by the framework `python`; installs nothing, and runs nothing of what it names."""

import operator
import re
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Final

from aweigh.core.errors import InvalidInput, MissingLibrary

_MAX_LINES: Final = 500
_NAMED: Final = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)", re.ASCII)
_CLAUSE: Final = re.compile(r"\s*(===|==|~=|!=|<=|>=|<|>)\s*([A-Za-z0-9.*+!_-]+)\s*", re.ASCII)
_RELEASE: Final = re.compile(r"v?(\d{1,9}(?:\.\d{1,9})*)", re.ASCII)
_ORDERED: Final[dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_ELSEWHERE: Final = ("-r", "--requirement", "-e", "--editable")
_WAY: Final = "make an environment of them, and pack and serve from it: python -m venv mine && mine/bin/pip install 'aweigh[pack]' -r requirements.txt"


def met(text: str, place: str) -> tuple[str, ...]:
    """The requirements as the exact versions that are here. Raises MissingLibrary for one that is not met, InvalidInput for a line that cannot be held to."""
    return tuple(_met(f"{place}:{number}", line) for number, line in _lines(text, place))


def _lines(text: str, place: str) -> Iterator[tuple[int, str]]:
    """Lines that name a library, continued ones joined, by the number of their first."""
    joined, start = "", 0
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise InvalidInput(f"{place} has {len(lines)} lines, of {_MAX_LINES} that are read", hint="leave out the digests")
    for number, line in enumerate(lines, 1):
        start = start if joined else number
        joined += line.removesuffix("\\") + " "
        if line.endswith("\\"):
            continue
        said = re.sub(r"(^|\s)#.*", "", joined).strip()
        joined = ""
        if said.startswith(_ELSEWHERE):
            raise InvalidInput(
                f"{place}:{start}: {said[:100]!r} names what is not in the folder", hint="write what it needs into this file"
            )
        if said and not said.startswith("-"):  # where to install from is no matter here
            yield start, said


def _met(place: str, line: str) -> str:
    said = line.partition(" --")[0].strip()
    found = _NAMED.fullmatch(said)
    if found is None or ";" in said or (found["rest"] and found["rest"][0] not in "@(<>=!~"):
        raise InvalidInput(f"{place}: {said[:100]!r} cannot be held against what is installed", hint="write NAME==VERSION")
    name, rest = found["name"], found["rest"].strip()
    try:
        here = metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise MissingLibrary(f"{place} needs {said[:100]}, and {name} is not installed here", hint=_WAY, libraries=name) from error
    if not rest.startswith("@") and not _fits(here, rest.strip("()"), place):
        raise MissingLibrary(f"{place} needs {said[:100]}, and {name} {here} is installed here", hint=_WAY, libraries=name)
    return f"{name}=={here}"


def _fits(here: str, rest: str, place: str) -> bool:
    for clause in rest.split(",") if rest else []:
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise InvalidInput(f"{place}: {clause[:100]!r} is no condition on a version", hint="write NAME==VERSION")
        if not _holds(here, found[1], found[2]):
            return False
    return True


def _holds(here: str, condition: str, wanted: str) -> bool:
    plain = here if "+" in wanted else here.partition("+")[0]  # a build's mark counts where it is asked for
    ours, theirs = _release(plain), _release(wanted)
    if condition == "~=":
        return ours >= theirs and ours[: len(theirs) - 1] == theirs[:-1]
    if condition in _ORDERED:
        return _ORDERED[condition](_even(ours, theirs), _even(theirs, ours))
    if wanted.endswith(".*"):
        same = ours[: len(theirs)] == theirs
    else:
        same = plain == wanted or (
            plain.replace(".", "").isdigit() and wanted.replace(".", "").isdigit() and _even(ours, theirs) == _even(theirs, ours)
        )
    return same if condition in {"==", "==="} else not same


def _release(text: str) -> tuple[int, ...]:
    found = _RELEASE.match(text)
    return tuple(map(int, found[1].split("."))) if found else ()


def _even(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """As long as the longer: 1.0 is 1.0.0."""
    return one + (0,) * (len(other) - len(one))
