"""Where images go: names that are none are refused; a layout keeps what others put there; bytecode is the same each time."""

import json
import sys
from pathlib import Path

import pytest

from aweigh.core.errors import Conflict, InvalidInput
from aweigh.core.oci import MANIFEST_TYPE
from aweigh.deploy.images.build import Image, describe
from aweigh.deploy.images.bytecode import compile_modules
from aweigh.deploy.images.output import check_name, check_tag, write_layout


def image(text: bytes) -> Image:
    return Image(descriptor=describe(text, MANIFEST_TYPE), document=text, platforms=())


def tags(folder: Path) -> dict[str, str]:
    entries = json.loads((folder / "index.json").read_text())["manifests"]
    return {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in entries}


def test_a_tag_moves_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    one, two = image(b"{}"), image(b"[]")
    write_layout(one, folder, "v1")
    write_layout(two, folder, "v2")
    write_layout(two, folder, "v1")
    assert tags(folder) == {"v1": two.digest, "v2": two.digest}
    assert (folder / "blobs/sha256" / one.digest.removeprefix("sha256:")).read_bytes() == b"{}"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(Conflict):
        write_layout(image(b"{}"), tmp_path, "v1")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("text", ["", "-x", "a b", "a\nb", "../x", "a/b", "é", "a" * 129])
def test_tags_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_tag(text)
    with pytest.raises(InvalidInput):
        check_name(f"iris:{text}")


@pytest.mark.parametrize("text", ["Iris:v1", "iris", "iris:v1\n", "/iris:v1", "iris::v1x:"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(text)
    check_name("registry.example:5000/team/iris:v1")


def test_bytecode_is_the_same_each_time_and_needs_no_source(tmp_path: Path) -> None:
    modules = {"app/a.py": b"x = {'p', 'q', 'r'}\ndef f(y): return y in {'a', 'b', 'c', 'd'}\n", "app/broken.py": b"print 1\n"}
    python = sys.version_info[:2]
    first, second = (compile_modules(modules, python, sys.executable) for _ in range(2))
    assert first == second
    (path,) = first
    assert path == f"app/__pycache__/a.cpython-{python[0]}{python[1]}.pyc"
    assert first[path][4:8] == b"\x01\0\0\0", "unchecked-hash"
