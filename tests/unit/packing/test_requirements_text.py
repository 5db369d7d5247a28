"""A person's requirements are held against what is installed: what is not met is refused, with the line and the way on."""

from importlib import metadata

import pytest

from aweigh.core.errors import InvalidInput, MissingLibrary
from aweigh.packing.requirements_text import met

HERE = {"numpy": "2.1.3", "torch": "2.9.0+cpu", "scikit-learn": "1.6.0", "early": "3.0rc1"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name.lower() not in HERE:
            raise metadata.PackageNotFoundError(name)
        return HERE[name.lower()]

    monkeypatch.setattr(metadata, "version", version)


def test_what_is_met_is_kept_as_the_versions_that_are_here() -> None:
    text = """
# mine
--index-url https://index.example/simple
numpy==2.1.3 \\
    --hash=sha256:00 \\
    --hash=sha256:11
torch ~= 2.8  # the processor's build
scikit-learn[extra] >=1.5, <2
NumPy
torch==2.9.0+cpu
"""
    assert met(text, "requirements.txt") == (
        "numpy==2.1.3", "torch==2.9.0+cpu", "scikit-learn==1.6.0", "NumPy==2.1.3", "torch==2.9.0+cpu",
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["numpy==2.1.3", "numpy==2.1.3.0", "numpy==2.*", "numpy>=2.1", "numpy<=2.1.3", "numpy<3,>2", "numpy!=2.1.2", "numpy~=2.1", "torch==2.9.0", "early==3.0rc1", "torch @ https://x.example/t.whl"],
)  # fmt: skip
def test_versions_that_are_met(line: str) -> None:
    assert len(met(line, "r.txt")) == 1


@pytest.mark.parametrize(
    "line",
    ["numpy==1.26.4", "numpy==2.1", "numpy==1.*", "numpy>=2.2", "numpy<2", "numpy<=2.1.2", "numpy>2.1.3", "numpy!=2.1.3", "numpy~=1.9", "numpy~=2.2", "torch==2.9.0+cu128", "early==3.0"],
)  # fmt: skip
def test_versions_that_are_not(line: str) -> None:
    with pytest.raises(MissingLibrary, match=r"r\.txt:2 needs .* is installed here") as caught:
        met(f"# one\n{line}\n", "r.txt")
    assert "venv" in caught.value.hint


def test_what_is_absent_is_named() -> None:
    with pytest.raises(MissingLibrary, match="needs absent>=1, and absent is not installed here"):
        met("absent>=1", "r.txt")


@pytest.mark.parametrize(
    "line", ["-r other.txt", "-e .", "./local", "https://x.example/t.whl", "numpy; python_version < '4'", "numpy==", "numpy 2", "==1"]
)
def test_what_cannot_be_held_to_is_refused(line: str) -> None:
    with pytest.raises(InvalidInput, match=r"r\.txt:1"):
        met(line, "r.txt")


def test_a_file_without_end_is_not_read() -> None:
    with pytest.raises(InvalidInput, match="501 lines"):
        met("numpy\n" * 501, "r.txt")
