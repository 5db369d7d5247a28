"""Rendered folders: written whole, told apart from what a person changed, cleaned of what is not rendered any more."""

from pathlib import Path

import msgspec
import pytest

from aweigh.core.errors import Conflict, InternalError, InvalidFile
from aweigh.deploy.folder import LEDGER, Ledger, read_ledger, write_folder

OF = Ledger(name="fraud", target="docker", model="fraud:1", digest="sha256:" + "0" * 64, files={})


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_files_are_written_and_a_second_time_nothing_changes(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"z" * 1000)
    files = {"a.yaml": b"a: 1\n", "code/run.py": b"pass\n", "model.onnx": large}
    folder = tmp_path / "out"
    assert write_folder(folder, files, OF) == sorted(files)
    assert names(folder) == {*files, LEDGER}
    assert (folder / "model.onnx").read_bytes() == b"z" * 1000
    assert write_folder(folder, files, OF) == []


def test_what_is_not_rendered_any_more_goes_and_what_a_person_put_there_stays(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": b"1", "b": b"2"}, OF)
    (tmp_path / "README").write_text("mine")
    assert write_folder(tmp_path, {"a": b"3"}, OF) == ["a", "b"]
    assert names(tmp_path) == {"a", "README", LEDGER}
    assert (ledger := read_ledger(tmp_path)) is not None
    assert list(ledger.files) == ["a"]


@pytest.mark.parametrize("other", [{"target": "kubernetes"}, {"name": "iris"}])
def test_another_deployment_is_not_replaced_unless_forced(tmp_path: Path, other: dict[str, str]) -> None:
    write_folder(tmp_path, {"a": b"1"}, OF)
    now = msgspec.structs.replace(OF, **other)
    with pytest.raises(Conflict, match="holds fraud for docker"):
        write_folder(tmp_path, {"b": b"2"}, now)
    assert names(tmp_path) == {"a", LEDGER}
    assert sorted(write_folder(tmp_path, {"b": b"2"}, now, force=True)) == ["a", "b"]


@pytest.mark.parametrize(("known", "said"), [(True, "was changed since it was rendered"), (False, "was not rendered by aweigh")])
def test_a_persons_file_is_not_written_over_unless_forced(tmp_path: Path, known: bool, said: str) -> None:
    if known:
        write_folder(tmp_path, {"a": b"1", "b": b"1"}, OF)
    (tmp_path / "a").write_text("mine")
    before = names(tmp_path)
    with pytest.raises(Conflict, match=said):
        write_folder(tmp_path, {"a": b"2", "c": b"new"}, OF)
    assert names(tmp_path) == before
    write_folder(tmp_path, {"a": b"2"}, OF, force=True)
    assert (tmp_path / "a").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "", LEDGER])
def test_no_path_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InternalError):
        write_folder(tmp_path / "out", {name: b""}, OF)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../theirs", "/theirs", "a/../../theirs"])
def test_a_ledger_that_others_wrote_removes_nothing_outside(tmp_path: Path, name: str) -> None:
    folder, theirs = tmp_path / "out", tmp_path / "theirs"
    theirs.write_bytes(b"1")
    write_folder(folder, {"a": b"1"}, OF)
    said = msgspec.json.decode((folder / LEDGER).read_bytes())
    said["files"] = {(str(theirs) if name == "/theirs" else name): said["files"]["a"]}  # the right digest of the file that it means
    (folder / LEDGER).write_bytes(msgspec.json.encode(said))
    with pytest.raises(InvalidFile, match="never renders"):
        write_folder(folder, {"a": b"1"}, OF)
    write_folder(folder, {"a": b"1"}, OF, force=True)
    assert theirs.read_bytes() == b"1"


def test_what_is_removed_is_not_reached_through_a_link(tmp_path: Path) -> None:
    folder, theirs = tmp_path / "out", tmp_path / "theirs"
    write_folder(folder, {"a": b"1", "sub/b": b"2"}, OF)
    (folder / "sub").rename(theirs)
    (folder / "sub").symlink_to(theirs)
    with pytest.raises(Conflict, match="is a link"):
        write_folder(folder, {"a": b"1"}, OF)
    assert (theirs / "b").exists()


def test_a_damaged_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text("{")
    with pytest.raises(InvalidFile, match=LEDGER):
        write_folder(tmp_path, {"a": b""}, OF)
    write_folder(tmp_path, {"a": b""}, OF, force=True)
