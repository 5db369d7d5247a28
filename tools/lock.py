"""Write requirements/*.txt from pyproject.toml with uv (`make lock`), or tell whether they are fresh (`--check`, needs no network).

Hashed, for every platform, without index addresses or local paths: pip's own configuration decides where packages come from.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
GROUPS = ("test", "check", "lock", "build")
LOCKS: dict[str, list[str]] = {
    "base.txt": [],
    "development.txt": ["--extra", "all", *(word for group in GROUPS for word in ("--group", group))],
}
ENVIRONMENTS = ROOT / "src" / "aweigh" / "isolate" / "locks"
"""Environments that aweigh makes for frameworks which are not installed: the extras that each holds. Never a build for graphics cards."""
FRAMEWORKS: dict[str, tuple[str, ...]] = {
    "pack": ("image", "pack"),
    "sklearn": ("image", "sklearn"),
    "trees": ("image", "trees"),
    "lleaves": ("lleaves",),
    "torch": ("image", "torch"),
    "huggingface": ("huggingface",),
    "tensorflow": ("image", "tensorflow"),
    "litert": ("litert",),
    "jax": ("image", "jax"),
    "openvino": ("openvino",),
    "optimize": ("optimize",),
    "train": ("train",),
    "executorch": ("executorch",),
    "coreml": ("coreml",),
}
LISTS: dict[str, tuple[str, ...]] = {
    "mxnet": ("mxnet==1.9.1", "numpy==1.23.5", "onnx==1.14.1", "protobuf>=3.20.3,<3.21", "msgspec>=0.19,<1"),
}
"""Environments for libraries that no Python which runs aweigh can hold: what goes into each, with what a child of aweigh's needs there."""
SERVING = ROOT / "src" / "aweigh" / "deploy" / "locks" / "serving.txt"
SERVED: tuple[str, ...] = ("image", "litert", "openvino", "text", "trees")
"""What images choose from: the extras whose runtimes they can hold. Each line tells who needs it, so that only what one runtime needs is taken."""
PINNED = "torch==2.13.0+cpu\n"
UV = [
    "uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url",
    "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet",
]  # fmt: skip
ADDRESS = re.compile(r"://|^\s*--(?!hash=)|file:|^\s*[./]", re.MULTILINE)


def fingerprint() -> str:
    """Digest of everything in pyproject.toml that decides the locks."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = data["project"]
    inputs = [
        project["requires-python"], project["dependencies"], project["optional-dependencies"], data["dependency-groups"], LOCKS, FRAMEWORKS, PINNED, SERVED
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def header(name: str = "") -> str:
    """First line of a lock, which tells what it was made from: pyproject.toml, or the list of that name."""
    if name in LISTS:
        digest = hashlib.sha256(json.dumps(LISTS[name]).encode()).hexdigest()[:16]
        return f"# Made by `make lock` from the list in tools/lock.py; do not edit. Inputs: {digest}\n"
    return f"# Made by `make lock` from pyproject.toml; do not edit. Inputs: {fingerprint()}\n"


def write(*, upgrade: bool) -> int:
    """Resolve every lock with uv; versions stay where they still fit, unless `upgrade`."""
    FOLDER.mkdir(exist_ok=True)
    for name, extra in LOCKS.items():
        path = FOLDER / name
        output = ["--output-file", str(path), *(["--upgrade"] if upgrade else [])]
        subprocess.run([*UV, *output, *extra, "pyproject.toml"], check=True, cwd=ROOT)
        path.write_text(header() + path.read_text())
    ENVIRONMENTS.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pinned:
        pinned.write(PINNED)
        pinned.flush()
        for name, extras in FRAMEWORKS.items():
            path = ENVIRONMENTS / f"{name}.txt"
            words = [word for extra in extras for word in ("--extra", extra)]
            words += ["--constraints", pinned.name, *_find_links(), *(["--upgrade"] if upgrade else [])]
            subprocess.run([*UV, "--output-file", str(path), *words, "pyproject.toml"], check=True, cwd=ROOT)
            path.write_text(header() + path.read_text())
    for name, requirements in LISTS.items():
        path = ENVIRONMENTS / f"{name}.txt"
        words = ["--output-file", str(path), *(["--upgrade"] if upgrade else [])]
        subprocess.run([*UV, *words, "-"], check=True, cwd=ROOT, input="\n".join(requirements), text=True)
        path.write_text(header(name) + path.read_text())
    words = [word for extra in SERVED for word in ("--extra", extra)] + (["--upgrade"] if upgrade else [])
    annotated = [word for word in UV if word != "--no-annotate"] + ["--annotation-style", "line"]
    SERVING.parent.mkdir(exist_ok=True)
    subprocess.run([*annotated, "--output-file", str(SERVING), *words, "pyproject.toml"], check=True, cwd=ROOT)
    SERVING.write_text(header() + SERVING.read_text())
    return check()


def _find_links() -> list[str]:
    """Where pip is told to find wheels, told to uv."""
    return [word for place in os.environ.get("PIP_FIND_LINKS", "").split() for word in ("--find-links", place)]


def check() -> int:
    """Print what is stale or machine-specific; 1 if anything is."""
    problems = []
    for path in (*(FOLDER / name for name in LOCKS), *(ENVIRONMENTS / f"{name}.txt" for name in (*FRAMEWORKS, *LISTS)), SERVING):
        text = path.read_text() if path.exists() else ""
        if not text.startswith(header(path.stem)):
            problems.append(f"{path.relative_to(ROOT)} is older than what it is made from: run `make lock`")
        if ADDRESS.search(text):
            problems.append(f"{path.relative_to(ROOT)} holds an address, a path or an option")
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(check() if "--check" in sys.argv else write(upgrade="--upgrade" in sys.argv))
