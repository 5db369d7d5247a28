"""Bases: from a layout and from an archive of `docker save`; what they have inside; what is damaged or hostile is refused."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.images import write_layout

from aweigh.core.errors import AweighError, FileMissing, InvalidFile, InvalidInput, NotFound, Unavailable, Unsupported
from aweigh.deploy.images.base import Base, ImageRegistry, open_base
from aweigh.deploy.images.inside import look_inside
from aweigh.deploy.platforms import LINUX_AMD64, LINUX_ARM64, Platform

LIBC = "lib/x86_64-linux-gnu/libc.so.6"
FILES: Mapping[str, bytes] = {
    "./usr/bin/python3.11": b"elf",
    "./usr/lib/python3.11/os.py": b"x = 1\n",
    "./usr/lib/python3.11/re.py": b"y = 1\n",
    "./usr/lib/python3.11/__pycache__/re.cpython-311.pyc": b"pyc",
    "./usr/lib/python3.11/test/test_os.py": b"",
    f"./{LIBC}": b"GNU C Library (Debian) stable release version 2.36.\n",
}


def layout(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "root.tar", "w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    write_layout(folder / "layout", folder / "root.tar")
    return folder / "layout"


def nowhere(text: str) -> tuple[ImageRegistry, str]:
    raise AssertionError(text)


def read(text: str, cache: Path, platform: Platform = LINUX_AMD64) -> Base:
    return open_base(text, platform, cache=cache, registry=nowhere)


def test_what_is_inside_is_found_without_running_it(tmp_path: Path) -> None:
    inside = look_inside(read(f"oci:{layout(tmp_path)}", tmp_path / "cache"))
    assert (inside.python, inside.interpreter, inside.glibc) == ((3, 11), "usr/bin/python3.11", (2, 36))
    assert inside.modules == {"usr/lib/python3.11/os.py": b"x = 1\n"}, "the other has its bytecode, tests are not run"


@pytest.mark.parametrize(("without", "word"), [("./usr/bin/python3.11", "no Python"), (f"./{LIBC}", "no glibc")])
def test_a_base_that_cannot_run_aweigh_is_refused(without: str, word: str, tmp_path: Path) -> None:
    place = layout(tmp_path, {path: data for path, data in FILES.items() if path != without})
    with pytest.raises(Unsupported, match=word):
        look_inside(read(f"oci:{place}", tmp_path / "cache"))


def test_an_older_python_is_refused_by_its_name(tmp_path: Path) -> None:
    place = layout(tmp_path, {path.replace("3.11", "3.9"): data for path, data in FILES.items()})
    with pytest.raises(Unsupported, match=r"python3\.9"):
        look_inside(read(f"oci:{place}", tmp_path / "cache"))


def test_an_archive_of_docker_save_is_the_same_base(tmp_path: Path) -> None:
    place = layout(tmp_path)
    base = read(f"oci:{place}", tmp_path / "cache")
    (layer,) = base.layers
    manifest = json.loads((place / "blobs/sha256" / base.digest.removeprefix("sha256:")).read_text())
    with tarfile.open(tmp_path / "saved.tar", "w") as archive:
        archive.add(layer.path, "abc/layer.tar")
        archive.add(place / "blobs/sha256" / manifest["config"]["digest"].removeprefix("sha256:"), "config.json")
        listed = json.dumps([{"Config": "config.json", "RepoTags": ["a:b"], "Layers": ["abc/layer.tar"]}]).encode()
        member = tarfile.TarInfo("manifest.json")
        member.size = len(listed)
        archive.addfile(member, io.BytesIO(listed))
    saved = read(f"docker-archive:{tmp_path}/saved.tar", tmp_path / "cache")
    assert [each.digest for each in saved.layers] == [layer.digest]
    assert look_inside(saved).glibc == (2, 36)


@pytest.mark.parametrize("said", ["{}", "[{}]", '[{"Config": 1, "Layers": []}]', "not JSON", "\udcff", "[" * 100_000])
def test_an_archive_with_an_odd_manifest_is_refused(said: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "odd.tar", "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        data = said.encode(errors="surrogateescape")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    with pytest.raises(InvalidFile, match="docker save"):
        read(f"docker-archive:{tmp_path}/odd.tar", tmp_path / "cache")


@pytest.mark.parametrize(("form", "damage"), [("gz", "cut"), ("bz2", "cut"), ("xz", "cut"), ("bz2", "changed"), ("xz", "changed")])
def test_a_packed_archive_that_is_cut_off_or_damaged_is_refused_and_leaves_nothing(form: str, damage: str, tmp_path: Path) -> None:
    listed = json.dumps([{"Config": "config.json", "Layers": ["layer.tar"]}]).encode()
    file = tmp_path / "saved"
    with tarfile.open(file, f"w:{form}") as archive:  # type: ignore[call-overload]  # forms by their names
        for name, data in (("manifest.json", listed), ("config.json", b"{}"), ("layer.tar", np.random.default_rng(0).bytes(300_000))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    data = file.read_bytes()
    at = len(data) * 2 // 3
    file.write_bytes(data[:at] if damage == "cut" else data[:at] + bytes(64) + data[at + 64 :])
    with pytest.raises(InvalidFile, match="docker save"):
        read(f"docker-archive:{file}", tmp_path / "cache")
    assert not list((tmp_path / "cache/blobs").glob(".making-*"))


def test_damage_and_links_are_refused(tmp_path: Path) -> None:
    place = layout(tmp_path)
    blob = max((place / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + b"x")
    with pytest.raises(InvalidFile, match="not what its name says"):
        read(f"oci:{place}", tmp_path / "cache")
    blob.unlink()
    with pytest.raises(FileMissing):
        read(f"oci:{place}", tmp_path / "cache")
    (tmp_path / "elsewhere").write_bytes(data)
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="symbolic links"):
        read(f"oci:{place}", tmp_path / "cache")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("oci:absent", FileMissing),
        ("oci:{layout}:none", NotFound),
        ("docker-archive:{layout}/index.json", InvalidFile),
        ("docker-archive:{layout}", InvalidInput),
    ],
)
def test_what_is_no_base_is_said(text: str, kind: type[AweighError], tmp_path: Path) -> None:
    with pytest.raises(kind):
        read(text.format(layout=layout(tmp_path)), tmp_path / "cache")


def test_another_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="linux/amd64"):
        read(f"oci:{layout(tmp_path)}", tmp_path / "cache", LINUX_ARM64)


def test_a_document_of_a_registry_must_have_the_digest_it_was_asked_by(tmp_path: Path) -> None:
    class Liar:
        def fetch(self, tag: str, accept: object) -> bytes:
            return b"{}"

        def get(self, digest: str, size_bytes: int) -> object:
            raise AssertionError

    with pytest.raises(InvalidFile, match="another document"):
        open_base("x", LINUX_AMD64, cache=tmp_path, registry=lambda _: (Liar(), f"sha256:{'0' * 64}"))  # type: ignore[return-value, arg-type]


def test_a_registry_that_is_not_reached_is_named_as_the_bases(tmp_path: Path) -> None:
    class Away:
        def fetch(self, tag: str, accept: object) -> bytes:
            raise Unavailable("there is no host gcr.example", hint="check the address")

        def get(self, digest: str, size_bytes: int) -> object:
            raise AssertionError

    with pytest.raises(Unavailable, match=r"the base image gcr\.example/python cannot be fetched: there is no host") as away:
        open_base("gcr.example/python", LINUX_AMD64, cache=tmp_path, registry=lambda _: (Away(), "latest"))  # type: ignore[return-value, arg-type]
    assert "--base oci:FOLDER" in away.value.hint
