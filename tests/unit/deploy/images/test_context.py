"""The folder for Docker: what a person has there is neither removed nor written over nor copied into an image."""

from pathlib import Path

import pytest

from aweigh.app.image import ImageOptions, make_image
from aweigh.core.errors import Conflict, InvalidInput
from aweigh.core.settings import Settings
from aweigh.deploy.folder import LEDGER, Ledger, write_folder
from aweigh.deploy.images.context import check_context, write_context

BASE = "python:3.12-slim"
FILES: dict[str, bytes | Path] = {
    "Dockerfile": b"FROM x\n",
    "compose.yaml": b"{}\n",
    "app/aweigh/a.py": b"",
    "models/store/blobs/one": b"1",
}


def write(folder: Path, files: dict[str, bytes | Path]) -> None:
    check_context(folder, BASE)
    write_context(folder, files, name="iris", model="iris:1", digest="sha256:" + "0" * 64)


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_project_with_a_dockerfile_of_its_own_is_left_as_it_is(tmp_path: Path) -> None:
    for name in ("Dockerfile", "compose.yaml", "app/main.py", "models/weights.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = content(tmp_path)
    with pytest.raises(Conflict, match="something else"):
        make_image(Settings(home="/nowhere"), "absent", ImageOptions(dockerfile=str(tmp_path), base=BASE))
    assert content(tmp_path) == before


def test_what_was_written_before_is_renewed_and_leaves_no_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    write(folder, FILES)
    later: dict[str, bytes | Path] = {**FILES, "models/views/two": b"2", "Dockerfile": b"FROM y\n"}
    del later["models/store/blobs/one"]
    write(folder, later)
    found = content(folder)
    found.pop(LEDGER)
    assert found == {name: data.decode() for name, data in later.items() if isinstance(data, bytes)}
    assert not (folder / "models/store").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Dockerfile", "was changed since it was rendered"),
        ("app/aweigh/a.py", "was changed since it was rendered"),
        ("app/mine.py", "would be copied into the image"),
        ("models/link", "would be copied into the image"),
    ],
)
def test_a_persons_files_in_it_are_said_and_nothing_is_written(tmp_path: Path, name: str, said: str) -> None:
    folder = tmp_path / "made"
    write(folder, FILES)
    if name.endswith("link"):
        (folder / name).symlink_to(tmp_path)
    else:
        (folder / name).write_text("mine")
    before = content(folder)
    with pytest.raises(Conflict, match=said):
        write(folder, {**FILES, "compose.yaml": b"new\n"})
    assert content(folder) == before


def test_what_is_no_folder_for_it_is_said_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_folder(tmp_path / "rendered", {"a": b""}, Ledger(name="n", target="kubernetes", model="n:1", digest="", files={}))
    for name in ("file", "rendered"):
        with pytest.raises(Conflict, match=name):
            check_context(tmp_path / name, BASE)
    with pytest.raises(InvalidInput, match="cannot name"):
        check_context(tmp_path / "new", "oci:layout")
