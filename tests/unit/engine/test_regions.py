"""Memory that clients share: what may be registered, what lies outside, what an error may tell, what is closed when."""

import os
from pathlib import Path

import pytest

from aweigh.core.errors import AweighError, Conflict, InvalidInput, NotFound, TooLarge, Unsupported
from aweigh.core.settings import Settings
from aweigh.engine.regions import MAX_REGIONS, Regions

BYTES = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "input").write_bytes(bytes(range(256)) * 16)
    return tmp_path


def regions(folder: Path, **settings: object) -> Regions:
    return Regions(Settings(shared_memory=True, **settings), folder)  # type: ignore[arg-type]  # fields by name


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_off_unless_the_settings_say_so(folder: Path) -> None:
    off = Regions(Settings(), folder)
    for call in (
        lambda: off.register("a", "input", 0, 8),
        off.status,
        off.unregister,
        lambda: off.unregister("a"),
        lambda: off.status("a"),
    ):
        with pytest.raises(Unsupported, match=r"^Client shared memory is disabled\. Start the server with"):
            call()
    with pytest.raises(NotFound, match="Unable to find shared memory region: 'a'"):
        off.place("a", 0, 8)


def test_a_window_is_read_and_written(folder: Path) -> None:
    mine = regions(folder)
    mine.register("window", "/input", 16, 64)
    assert mine.place("window", 4, 8).read() == bytes(range(20, 28))
    mine.place("window", 60, 4).write(b"last")
    assert (folder / "input").read_bytes()[76:80] == b"last"
    assert [(one.name, one.key, one.offset, one.byte_size) for one in mine.status()] == [("window", "/input", 16, 64)]
    assert mine.status("window") == mine.status()
    mine.close()


@pytest.mark.parametrize(
    ("offset", "size", "text"),
    [
        (64, 0, "Invalid offset for"), (2**70, 1, "Invalid offset for"), (-1, 4, "Invalid offset for"), (60, 5, r"Invalid offset \+ byte size"),
        (0, 2**64, r"Invalid offset \+ byte size"), (8, 2**64 - 8, r"Invalid offset \+ byte size"), (8, -4, r"Invalid offset \+ byte size"),
    ],
)  # fmt: skip
def test_what_lies_outside_of_the_window(folder: Path, offset: int, size: int, text: str) -> None:
    mine = regions(folder)
    mine.register("window", "input", 16, 64)
    with pytest.raises(InvalidInput, match=text):
        mine.place("window", offset, size)
    mine.close()


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, BYTES + 1), (BYTES, 1), (BYTES - 8, 9), (0, 0), (-8, 8), (0, -1), (2**63, 8), (8, 2**63), (2**64 - 8, 16), (0, 2**64)],
)
def test_windows_that_do_not_lie_in_the_file(folder: Path, offset: int, size: int) -> None:
    mine, before = regions(folder), descriptors()
    with pytest.raises(InvalidInput, match="failed to register shared memory region 'window': invalid args"):
        mine.register("window", "input", offset, size)
    assert (mine.status(), descriptors()) == ([], before)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "///",
        "..",
        "/..",
        "../input",
        "/../input",
        "a/b",
        "/dev/shm/input",
        ".hidden",
        "-x",
        "a\0b",
        "ä",
        "x" * 300,
        "aweigh-1",
        "/aweigh",
    ],
)
def test_keys_that_are_no_names(folder: Path, key: str) -> None:
    (folder / "aweigh-1").write_bytes(bytes(64))
    with pytest.raises(InvalidInput, match="cannot register shared memory region 'window' - invalid shm key"):
        regions(folder).register("window", key, 0, 8)


def test_only_names_that_the_settings_allow(folder: Path) -> None:
    (folder / "triton-in").write_bytes(bytes(64))
    mine = regions(folder, shared_memory_keys="triton-*, mine?")
    mine.register("window", "/triton-in", 0, 8)
    with pytest.raises(InvalidInput, match="invalid shm key") as refused:
        mine.register("other", "input", 0, 8)
    with pytest.raises(InvalidInput, match="invalid shm key") as absent:
        mine.register("other", "secret", 0, 8)
    assert refused.value.message.replace("input", "secret") == absent.value.message
    mine.close()


def test_only_files_are_opened_and_all_else_is_said_alike(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "input")
    (folder / "loop").symlink_to("/etc/passwd")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    before = descriptors()
    for key in ("link", "loop", "folder", "pipe", "absent"):
        with pytest.raises(InvalidInput) as caught:
            regions(folder).register("window", key, 0, 8)
        assert caught.value.message == f"Unable to open shared memory region: '{key}'"
    assert descriptors() == before


def test_names_are_taken_once_and_given_back(folder: Path) -> None:
    mine, before = regions(folder), descriptors()
    mine.register("window", "input", 0, 8)
    with pytest.raises(Conflict, match="shared memory region 'window' already in manager"):
        mine.register("window", "input", 0, 8)
    for name in ("", "x" * 300):
        with pytest.raises(InvalidInput, match="'region name' is necessary"):
            mine.register(name, "input", 0, 8)
    mine.unregister("nobody's")
    mine.unregister("window")
    assert descriptors() == before
    with pytest.raises(NotFound, match="Unable to find system shared memory region: 'window'"):
        mine.status("window")
    for number in range(MAX_REGIONS):
        mine.register(str(number), "input", number, 8)
    with pytest.raises(TooLarge, match="256 shared memory regions are registered already"):
        mine.register("more", "input", 0, 8)
    mine.unregister()
    assert (mine.status(), descriptors()) == ([], before)
    mine.register("window", "input", 0, 8)
    mine.close()
    assert descriptors() == before


def test_a_file_that_shrinks_is_an_error_and_nothing_worse(folder: Path) -> None:
    mine = regions(folder)
    mine.register("window", "input", 0, BYTES)
    os.truncate(folder / "input", 16)
    for call in (mine.place("window", 0, BYTES).read, lambda: mine.place("window", 8, 16).write(bytes(16))):
        with pytest.raises(InvalidInput, match="shorter than it was"):
            call()
    assert (folder / "input").stat().st_size == 16
    mine.close()


def test_a_tensor_in_shared_memory_is_no_larger_than_one_that_is_sent(folder: Path) -> None:
    mine = regions(folder, max_body_bytes=64)
    mine.register("window", "input", 0, BYTES)
    with pytest.raises(TooLarge, match="65 bytes of shared memory; this server takes 64"):
        mine.place("window", 0, 65)
    mine.close()


def test_no_error_tells_of_other_regions(folder: Path) -> None:
    mine = regions(folder)
    mine.register("somebody's", "input", 0, 64)
    for call in (
        lambda: mine.place("mine", 0, 8),
        lambda: mine.status("mine"),
        lambda: mine.register("mine", "absent", 0, 8),
        lambda: mine.register("mine", "../x", 0, 8),
        lambda: mine.register("mine", "input", 0, 2**40),
    ):
        with pytest.raises(AweighError) as caught:
            call()
        said = f"{caught.value.message} {caught.value.hint}"
        assert "somebody" not in said
        assert str(folder) not in said
    mine.close()
