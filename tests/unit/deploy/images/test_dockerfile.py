"""A Dockerfile of hostile names: read back, it has the instructions of the harmless one, and the very values."""

import json
import re
import shlex

import pytest

from aweigh.core.errors import InvalidInput
from aweigh.deploy.images.dockerfile import compose, docker_folder, dockerfile
from aweigh.deploy.images.layers import Link
from aweigh.deploy.images.payload import Part, Start
from aweigh.deploy.platforms import LINUX_AMD64, LINUX_ARM64
from aweigh.deploy.yaml_text import read_yaml

START = Start(
    entrypoint=("/usr/bin/python3", "-m", "aweigh"), command=("serve", "iris"), environment={"A": "1"}, health=("/h",), folder="/app"
)
HOSTILE = ['"; RUN true #', "$(reboot) ${PATH} $HOME", "back\\slash \\", "' OR '1", "# syntax=evil", "FROM scratch", "ü ✓ \u202e", "", " "]


def instructions(text: str) -> list[str]:
    return [line.split(" ", 1)[0] for line in text.splitlines()]


def values(text: str, name: str) -> str:
    """The value of an ENV or LABEL, as Docker's shell-like words give it."""
    line = next(line for line in text.splitlines() if re.match(rf"(ENV|LABEL) {re.escape(name)}=", line))
    (word,) = shlex.split(line.split(" ", 1)[1])
    return word.partition("=")[2].replace("\\$", "$")


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_change_no_instruction(value: str) -> None:
    plain = dockerfile("python:3.12-slim", LINUX_AMD64, {"app/": "/app/"}, START, {"title": "iris"})
    start = Start(entrypoint=("/p", value), command=(value,), environment={"A": value}, health=("/h", value), folder="/app")
    text = dockerfile("python:3.12-slim", LINUX_AMD64, {"app/": "/app/"}, start, {"title": value})
    assert instructions(text) == instructions(plain)
    assert values(text, "A") == values(text, "title") == value
    assert json.loads(next(line for line in text.splitlines() if line.startswith("CMD"))[4:]) == [value]
    assert json.loads(next(line for line in text.splitlines() if line.startswith("ENTRYPOINT"))[11:]) == ["/p", value]


@pytest.mark.parametrize("value", ["a\nRUN true", "a\rb", "a\0b", "a\u2028b", "a\x1b[2J"])
def test_line_breaks_and_control_characters_are_refused(value: str) -> None:
    for start, labels in (
        (Start(entrypoint=("/p",), environment={"A": value}), {}),
        (Start(entrypoint=(value,)), {}),
        (START, {"title": value}),
    ):
        with pytest.raises(InvalidInput):
            dockerfile("python:3.12", LINUX_AMD64, {}, start, labels)


@pytest.mark.parametrize("base", ["a\nRUN true", "a b", "-x", "", "a#b", "$BASE"])
def test_a_base_that_is_no_address_is_refused(base: str) -> None:
    with pytest.raises(InvalidInput):
        dockerfile(base, LINUX_AMD64, {}, START, {})


@pytest.mark.parametrize("name", ["A B", "A=B", "A\nB", "", "1A"])
def test_names_of_variables_are_checked(name: str) -> None:
    with pytest.raises(InvalidInput):
        dockerfile("python:3.12", LINUX_AMD64, {}, Start(entrypoint=("/p",), environment={name: "x"}), {})


def test_the_compose_file_hardens_what_runs() -> None:
    (document,) = read_yaml(compose("iris:v1", LINUX_AMD64, START), place="compose.yaml")
    service = document["services"]["iris"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["ports"] == ["127.0.0.1:8080:8080"]


def test_the_folder_holds_what_is_copied_and_no_links() -> None:
    part = Part(title="x", key="x", files=lambda: {"models/blob": b"w", "models/view": Link("models/blob"), "app/a.py": b""})
    files = docker_folder("python:3.12", LINUX_AMD64, "iris:v1", [part], START, {})
    assert files["models/view"] == b"w"
    assert b'COPY ["app/", "/app/"]\nCOPY ["models/", "/models/"]' in files["Dockerfile"]  # type: ignore[operator]


def test_the_base_is_taken_for_the_platform_that_the_wheels_are_for() -> None:
    """Without it, Docker takes the builder's own, and no compiled module among the copied ones can be imported."""
    files = docker_folder("python:3.12", LINUX_ARM64, "iris:v1", [], START, {})
    text = files["Dockerfile"]
    assert isinstance(text, bytes)
    assert text.startswith(b"FROM --platform=linux/arm64 python:3.12\n")
    (document,) = read_yaml(files["compose.yaml"], place="compose.yaml")  # type: ignore[arg-type]
    assert document["services"]["iris"]["platform"] == "linux/arm64"
