"""The base install from a wheel: small, complete in itself, and clear about what is missing."""

import json
from pathlib import Path

import pytest
from tests.installs import install_base, run

SIZE_BUDGET_BYTES = 200_000_000
OF_THE_ENVIRONMENT = ("pip", "setuptools", "pkg_resources", "_distutils_hack")

pytestmark = [pytest.mark.index, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_base(tmp_path_factory.mktemp("install"))


def test_the_locked_base_is_complete(installed: Path) -> None:
    assert "No broken requirements found" in run(installed / "python", "-m", "pip", "check")


def test_the_base_install_is_small(installed: Path) -> None:
    """With bytecode; pip and setuptools, whose packages have more names than one, come with the environment, not with aweigh."""
    (site,) = (installed.parent / "lib").glob("python*/site-packages")
    own = [path for path in site.rglob("*") if path.is_file() and path.relative_to(site).parts[0].split("-")[0] not in OF_THE_ENVIRONMENT]
    assert sum(path.stat().st_size for path in own) < SIZE_BUDGET_BYTES


def test_the_command_works_with_nothing_else(installed: Path, tmp_path: Path) -> None:
    aweigh = installed / "aweigh"
    assert run(aweigh, "--version").startswith("aweigh ")
    assert json.loads(run(aweigh, "models", "--json", "--home", str(tmp_path))) == {"models": []}
    findings = {
        row["check"]: row for row in json.loads(run(aweigh, "doctor", "--json", "--port", "0", "--home", str(tmp_path)))["findings"]
    }
    assert findings["runtime onnxruntime"]["verdict"] == "ok"
    missing = ("missing", "pip install 'aweigh[sklearn]', or 'aweigh env make sklearn'")
    assert (findings["framework sklearn"]["verdict"], findings["framework sklearn"]["hint"]) == missing
