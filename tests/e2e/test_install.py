"""The base install from a wheel: small, complete in itself, and clear about what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIZE_BUDGET_BYTES = 200_000_000

pytestmark = [pytest.mark.index, pytest.mark.slow, pytest.mark.timeout(600)]


def run(*words: str | Path, **environment: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel and the locked base dependencies, by pip alone."""
    folder = tmp_path_factory.mktemp("install")
    wheel = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    run(sys.executable, "-m", "pip", *wheel)
    run(sys.executable, "-m", "venv", folder / "venv")
    pip = (folder / "venv/bin/python", "-m", "pip", "install", "-qq", "--no-deps")
    run(*pip, "--require-hashes", "--requirement", ROOT / "requirements/base.txt")
    run(*pip, *folder.glob("aweigh-*.whl"))
    return folder / "venv/bin"


def test_the_locked_base_is_complete(installed: Path) -> None:
    assert "No broken requirements found" in run(installed / "python", "-m", "pip", "check")


def test_the_base_install_is_small(installed: Path) -> None:
    """With bytecode; pip and setuptools come with the environment, not with aweigh."""
    (site,) = (installed.parent / "lib").glob("python*/site-packages")
    own = [
        path for path in site.rglob("*") if path.is_file() and path.relative_to(site).parts[0].split("-")[0] not in ("pip", "setuptools")
    ]
    assert sum(path.stat().st_size for path in own) < SIZE_BUDGET_BYTES


def test_the_command_works_with_nothing_else(installed: Path, tmp_path: Path) -> None:
    aweigh = installed / "aweigh"
    assert run(aweigh, "--version").startswith("aweigh ")
    assert json.loads(run(aweigh, "models", "--json", "--home", str(tmp_path))) == {"models": []}
    findings = {
        row["check"]: row for row in json.loads(run(aweigh, "doctor", "--json", "--port", "0", "--home", str(tmp_path)))["findings"]
    }
    assert findings["runtime onnxruntime"]["verdict"] == "ok"
    assert (findings["framework sklearn"]["verdict"], findings["framework sklearn"]["hint"]) == ("missing", "pip install 'aweigh[sklearn]'")
