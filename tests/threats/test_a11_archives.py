"""A11, archives: `aweigh import` takes regular files under expected names and nothing else; what else opens archives counts before it inflates.

After each refusal every folder is byte-identical to before. The same forms, and hostile manifests, against the store alone: tests/unit/store/test_archive.py.
"""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.threats.commands import Done, run, run_all, tree
from tests.threats.siege import BUSY, MIB

GIB = 1024 * MIB
BLOB = "blobs/sha256/" + "0" * 64
Entry = tuple[str, bytes] | tarfile.TarInfo


def info(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def tar_of(entries: list[Entry]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                made = tarfile.TarInfo(entry[0])
                made.size = len(entry[1])
                tar.addfile(made, io.BytesIO(entry[1]))
    return held.getvalue()


def lying(good: bytes, size: int) -> bytes:
    """The first entry's header says another size than its data has, with a checksum that is right."""
    header = bytearray(good[:512])
    header[124:136] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + good[512:]


def million() -> bytes:
    """More entries than are ever looked at: the 20,001st ends it, as it would among a million."""
    made = tarfile.TarInfo("x")
    headers = []
    for at in range(25_000):
        made.name = f"blobs/sha256/{at:064x}"
        headers.append(made.tobuf(tarfile.GNU_FORMAT))
    return b"".join(headers) + bytes(1024)


def bomb42() -> bytes:
    """42.zip in small: zips of zips of zeros."""
    inner = _zip({f"{at}.dll": bytes(16 * MIB) for at in range(4)})
    for _ in range(2):
        inner = _zip({f"{at}.zip": inner for at in range(16)})
    return inner


def _zip(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return held.getvalue()


def _zip_of_zeros(name: str, size: int, head: bytes = b"") -> bytes:
    """One member that is a thousand times as large as the archive."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made, made.open(name, "w", force_zip64=True) as member:
        member.write(head)
        for _ in range(size // (16 * MIB)):
            member.write(bytes(16 * MIB))
    return held.getvalue()


def overlapping(name: str = "schema.json") -> bytes:
    """One member's bytes under a thousand names of the directory (CVE-2024-0450)."""
    whole = _zip({name: bytes(16 * MIB)})
    start = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry, directory = whole[start:end], b""
    for at in range(1000):
        other = name.encode() if at == 0 else f"{at:0{len(name)}}".encode()
        directory += entry.replace(name.encode(), other)
    tail = bytearray(whole[end:])
    tail[8:12] = (1000).to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    return whole[:start] + directory + bytes(tail)


HOSTILE: dict[str, Callable[[list[Entry], bytes], bytes]] = {
    "../": lambda good, whole: tar_of([*good, ("../evil", b"x")]),
    "../ in front": lambda good, whole: tar_of([("../evil", b"x"), *good]),
    "../ inside": lambda good, whole: tar_of([*good, ("blobs/sha256/../../../evil", b"x")]),
    "absolute": lambda good, whole: tar_of([*good, ("/tmp/evil", b"x")]),
    "drive letter": lambda good, whole: tar_of([*good, ("C:\\evil", b"x")]),
    "symlink, then a write through it": lambda good, whole: tar_of([info("blobs", tarfile.SYMTYPE, "/tmp"), ("blobs/evil", b"x"), *good]),
    "symlink at a blob": lambda good, whole: tar_of([*good, info(BLOB, tarfile.SYMTYPE, "/etc/passwd")]),
    "hard link": lambda good, whole: tar_of([*good, info(BLOB, tarfile.LNKTYPE, "index.json")]),
    "hard link outside": lambda good, whole: tar_of([*good, info(BLOB, tarfile.LNKTYPE, "/etc/passwd")]),
    "device": lambda good, whole: tar_of([*good, info(BLOB, tarfile.CHRTYPE)]),
    "block device": lambda good, whole: tar_of([*good, info(BLOB, tarfile.BLKTYPE)]),
    "FIFO": lambda good, whole: tar_of([*good, info(BLOB, tarfile.FIFOTYPE)]),
    "duplicate name": lambda good, whole: tar_of([*good, ("index.json", b"{}")]),
    "case twin": lambda good, whole: tar_of([*good, ("INDEX.JSON", b"{}")]),
    "10^6 entries": lambda good, whole: million(),
    "1 GB of zeros in 1 MB of gzip": lambda good, whole: _gzip_of_zeros(GIB),
    "gzip of the archive": lambda good, whole: gzip.compress(whole),
    "42.zip": lambda good, whole: bomb42(),
    "overlap zip": lambda good, whole: overlapping(),
    "header size larger than its data": lambda good, whole: lying(whole, 2**30),
    "header size past all": lambda good, whole: lying(whole, 2**33 - 1),
    "header size smaller than its data": lambda good, whole: lying(whole, 3),
    "truncated": lambda good, whole: whole[: len(whole) // 2],
    "extended header": lambda good, whole: tar_of([info("x", tarfile.XHDTYPE), *good]),
    "sparse file": lambda good, whole: tar_of([info(BLOB, tarfile.GNUTYPE_SPARSE), *good]),
}


def _gzip_of_zeros(size: int) -> bytes:
    return gzip.compress(bytes(16 * MIB)) * (size // (16 * MIB))


@pytest.fixture(scope="module")
def good(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive as `aweigh export` writes it."""
    file = tmp_path_factory.mktemp("good") / "good.tar"
    assert run(home, "export", "linear", str(file)).code == 0
    return file


@pytest.fixture(scope="module")
def imported(good: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Every archive, imported into a store that holds something already."""
    folder = tmp_path_factory.mktemp("archives")
    home = folder / "home"
    assert run(home, "import", str(good), "--name", "kept").code == 0
    with tarfile.open(good) as tar:
        entries: list[Entry] = [(each.name, tar.extractfile(each).read()) for each in tar.getmembers()]  # type: ignore[union-attr]
    whole = good.read_bytes()
    files = folder / "files"
    files.mkdir()
    for at, make in enumerate(HOSTILE.values()):
        (files / f"{at}.tar").write_bytes(make(entries, whole))
    before = tree(folder)
    ended = run_all(home, {case: ["import", str(files / f"{at}.tar")] for at, case in enumerate(HOSTILE)})
    after = tree(folder)
    assert {name: each for name, each in after.items() if before.get(name) != each} == {}
    assert set(before) == set(after)
    assert not Path("/tmp/evil").exists()
    return ended


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused(imported: dict[str, Done], case: str) -> None:
    done = imported[case]
    assert done.code in {1, 2}, done.said
    assert done.error["code"] in {"invalid-file", "too-large"}, done.said
    assert done.seconds < 2 * BUSY
    assert done.peak_bytes < 256 * MIB
    assert "root:" not in done.said


def test_the_archive_as_it_was_written_is_taken(good: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "import", str(good)).code == 0
    assert json.loads(run(tmp_path, "models").said)["models"]


def npz(shape: tuple[int, ...], size: int) -> bytes:
    """A numpy archive whose array says that shape."""
    held = io.BytesIO()
    np.lib.format.write_array_header_1_0(held, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return _zip_of_zeros("X.npy", size, held.getvalue())


OPENED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "42.zip as a model": ("model", bomb42),
    "overlap zip as a skops model": ("model", overlapping),
    "skops whose schema is a gigabyte": ("model", lambda: _zip_of_zeros("schema.json", GIB)),
    "gzip of a gigabyte as a model": ("model", lambda: _gzip_of_zeros(GIB)),
    "gzip of a pickle of a gigabyte": ("model", lambda: gzip.compress(b"\x80\x04\x8e" + (GIB).to_bytes(8, "little") + bytes(256 * MIB), 1)),
    "npz sample of a gigabyte of zeros": ("sample", lambda: npz((GIB // 16, 4), GIB)),
    "npz sample that says petabytes": ("sample", lambda: npz((2**48, 4), 0)),
    "npz sample whose size wraps around": ("sample", lambda: npz((2**62, 4), 0)),
    "42.zip as a sample": ("sample", bomb42),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What `aweigh pack` opens besides, as a model or as a sample."""
    from tests.serving.models import linear

    folder = tmp_path_factory.mktemp("opened")
    model = linear(folder)
    commands = {}
    for at, (case, (role, make)) in enumerate(OPENED.items()):
        file = folder / f"{at}.{'npz' if role == 'sample' else 'bin'}"
        file.write_bytes(make())
        commands[case] = ["pack", str(file)] if role == "model" else ["pack", str(model), "--sample", str(file)]
    return run_all(folder / "home", commands, AWEIGH_CHILD_MEMORY_BYTES=str(GIB), AWEIGH_CHILD_TIMEOUT_S="60")


@pytest.mark.slow
@pytest.mark.parametrize("case", OPENED)
def test_what_else_opens_archives_is_bounded(opened: dict[str, Done], case: str) -> None:
    done = opened[case]
    assert done.code in {1, 2, 4}, done.said
    assert done.error["code"] != "internal-error", done.said
    assert done.peak_bytes < GIB


def test_no_check_rests_on_an_assert(good: Path, tmp_path: Path) -> None:
    with tarfile.open(good) as tar:
        entries: list[Entry] = [(each.name, tar.extractfile(each).read()) for each in tar.getmembers()]  # type: ignore[union-attr]
    for case in ("../", "symlink at a blob", "FIFO"):
        file = tmp_path / "hostile.tar"
        file.write_bytes(HOSTILE[case](entries, good.read_bytes()))
        assert run(tmp_path, "import", str(file), PYTHONOPTIMIZE="1").error["code"] == "invalid-file"
    assert not (Path.cwd().parent / "evil").exists()
