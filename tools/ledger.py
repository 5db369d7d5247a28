"""The ledger: every third-party import in src/aweigh stands in `[tool.aweigh.ledger]` of pyproject.toml, and every row is used.

A row is a library and the files (globs under src/aweigh) that may import it. Run by `make layers`.
"""

import fnmatch
import sys
import tomllib

from imports import ROOT, third_party


def problems(imports: dict[str, set[str]], ledger: dict[str, list[str]], core_libraries: list[str]) -> list[str]:
    """What the ledger does not allow, and the rows it no longer needs."""
    found = []
    for library, files in sorted(imports.items()):
        rows = ledger.get(library, [])
        for file in sorted(files):
            if not any(fnmatch.fnmatchcase(file, row) for row in rows):
                found.append(
                    f"src/aweigh/{file} imports {library}: add it to [tool.aweigh.ledger] in pyproject.toml, or import it elsewhere"
                )
            if file.startswith("core/") and library not in core_libraries:
                found.append(f"src/aweigh/{file} imports {library}: core stands on {', '.join(core_libraries)} alone")
    for library, rows in ledger.items():
        idle = [row for row in rows if not fnmatch.filter(imports.get(library, ()), row)]
        found += [f"[tool.aweigh.ledger] {library} = {row!r}: nothing there imports it any more, remove it" for row in idle]
    return found


def main() -> int:
    """Print every problem; 1 if there is one."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["aweigh"]
    found = problems(third_party("src/aweigh"), settings["ledger"], settings["core-libraries"])
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
