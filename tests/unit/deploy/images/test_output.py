"""Where images go: names that are none are refused; a layout keeps what others put there; bytecode is the same each time."""

import json
import sys
from pathlib import Path

import pytest

from aweigh.app.image import ImageOptions, make_image
from aweigh.core.errors import Conflict, InvalidInput
from aweigh.core.oci import INDEX_TYPE, MANIFEST_TYPE, encode
from aweigh.core.settings import Settings
from aweigh.deploy.images.build import Image, describe
from aweigh.deploy.images.bytecode import compile_modules
from aweigh.deploy.images.documents import Index
from aweigh.deploy.images.output import Attached, check_archive, check_layout, check_name, check_tag, write_layout


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


def test_documents_that_others_put_in_a_layout_stay_in_the_list(tmp_path: Path) -> None:
    folder, about = tmp_path / "layout", image(b"{}")
    for data in (b"one", b"two", b"two"):
        document = encode(Index(schema_version=2, media_type=INDEX_TYPE, manifests=(describe(data, MANIFEST_TYPE),)))
        ours = Attached(subject=about.digest, manifest=document, descriptor=describe(document, INDEX_TYPE), blobs=(), tag="sha256-0")
        (found,) = write_layout(about, folder, "v1", [ours])
    listed = json.loads((folder / "blobs/sha256" / tags(folder)["sha256-0"].removeprefix("sha256:")).read_text())
    assert [each["digest"] for each in listed["manifests"]] == [describe(data, "").digest for data in (b"one", b"two")]
    assert found.descriptor.digest == tags(folder)["sha256-0"]


def test_places_that_cannot_be_written_are_said_before_an_image_is_built(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("")
    for to in ("oci:{}/file", "oci:{}/file/below:v1", "oci:{}/folder", "docker-archive:{}/folder", "docker-archive:{}/file/x.tar"):
        with pytest.raises(Conflict):
            make_image(Settings(home="/nowhere"), "absent", ImageOptions(to=to.format(tmp_path)))
    check_layout(tmp_path / "a/b")
    check_archive(tmp_path / "a/b.tar")
    assert not (tmp_path / "a").exists()


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
