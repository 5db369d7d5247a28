"""Every third-party import is declared in pyproject.toml, and every declared dependency of the package is imported. Run by `make check`."""

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from imports import ROOT, third_party
from lock import LISTS

NOT_INSTALLED = {"tensorflow": "tensorflow-cpu", "olive": "olive-ai"}
"""Distributions that are named unlike their module and are not installed where this runs, by module."""
FOLDERS = {"src/aweigh": (), "tests": ("test",), "bench": ("test",), "tools": ("check", "lock", "build")}
"""Folder -> dependency groups it may use besides the package's own dependencies and extras."""


def _name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _names(requirements: Iterable[str]) -> set[str]:
    return {_name(requirement) for requirement in requirements} - {"aweigh"}


def _beside(file: Path) -> set[str]:
    """What a server of the comparison, or a program of a test, has in its own environment: the requirements in its folder, or under its own name."""
    lists = [each for each in (file.parent / "requirements.txt", file.with_suffix(".in")) if each.exists()]
    return {name for each in lists for name in _names(each.read_text().splitlines())}


def main() -> int:
    """Print every problem; 1 if there is one."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = data["project"], data["dependency-groups"]
    extras = {name for extra in project["optional-dependencies"].values() for name in _names(extra)}
    package = _names(project["dependencies"]) | extras
    apart = _names(requirement for requirements in LISTS.values() for requirement in requirements)
    distributions = importlib.metadata.packages_distributions()
    unused = set(package) - set(data["tool"]["aweigh"]["used-without-import"])
    found = []
    for folder, allowed in FOLDERS.items():
        declared = (package | apart).union(*(_names(groups[group]) for group in allowed))
        for library, files in sorted(third_party(folder).items()):
            names = {name.lower().replace("_", "-") for name in distributions.get(library, [NOT_INSTALLED.get(library, library)])}
            if folder == "src/aweigh":
                unused -= names
            lacking = [file for file in files if not names & (declared | _beside(ROOT / folder / file))]
            if lacking:
                found.append(f"{folder}/{min(lacking)} imports {library}, of {'/'.join(sorted(names))}: declare it in pyproject.toml")
    found += [f"{name} is a dependency that nothing in src/aweigh imports: remove it from pyproject.toml" for name in sorted(unused)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
