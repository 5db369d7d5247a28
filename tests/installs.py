"""The base install, as somebody has it who installs the wheel and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str | Path, **environment: str) -> str:
    """What a command says; it must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def install_base(folder: Path) -> Path:
    """The bin folder of a fresh environment with the wheel and the locked base dependencies, by pip alone."""
    wheel = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    run(sys.executable, "-m", "pip", *wheel)
    run(sys.executable, "-m", "venv", folder / "venv")
    pip = (folder / "venv/bin/python", "-m", "pip", "install", "-qq", "--no-deps")
    run(*pip, "--require-hashes", "--requirement", ROOT / "requirements/base.txt")
    run(*pip, *folder.glob("aweigh-*.whl"))
    return folder / "venv/bin"
