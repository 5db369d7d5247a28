"""Write requirements/*.txt from pyproject.toml with uv (`make lock`), or tell whether they are fresh (`--check`, needs no network).

Hashed, for every platform, without index addresses or local paths: pip's own configuration decides where packages come from.
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
GROUPS = ("test", "check", "lock", "build")
LOCKS: dict[str, list[str]] = {
    "base.txt": [],
    "development.txt": ["--extra", "all", *(word for group in GROUPS for word in ("--group", group))],
}
UV = [
    "uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url",
    "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet",
]  # fmt: skip
ADDRESS = re.compile(r"://|^\s*--(?!hash=)|file:|^\s*[./]", re.MULTILINE)


def fingerprint() -> str:
    """Digest of everything in pyproject.toml that decides the locks."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = data["project"]
    inputs = [project["requires-python"], project["dependencies"], project["optional-dependencies"], data["dependency-groups"], LOCKS]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def header() -> str:
    """First line of a lock, which tells what it was made from."""
    return f"# Made by `make lock` from pyproject.toml; do not edit. Inputs: {fingerprint()}\n"


def write(*, upgrade: bool) -> int:
    """Resolve every lock with uv; versions stay where they still fit, unless `upgrade`."""
    FOLDER.mkdir(exist_ok=True)
    for name, extra in LOCKS.items():
        path = FOLDER / name
        output = ["--output-file", str(path), *(["--upgrade"] if upgrade else [])]
        subprocess.run([*UV, *output, *extra, "pyproject.toml"], check=True, cwd=ROOT)
        path.write_text(header() + path.read_text())
    return check()


def check() -> int:
    """Print what is stale or machine-specific; 1 if anything is."""
    problems = []
    for name in LOCKS:
        path = FOLDER / name
        text = path.read_text() if path.exists() else ""
        if not text.startswith(header()):
            problems.append(f"requirements/{name} is older than the dependencies in pyproject.toml: run `make lock`")
        if ADDRESS.search(text):
            problems.append(f"requirements/{name} holds an address, a path or an option")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(check() if "--check" in sys.argv else write(upgrade="--upgrade" in sys.argv))
