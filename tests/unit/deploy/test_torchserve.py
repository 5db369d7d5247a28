"""TorchServe's archive in the shared cache: made once, whole, and again where it was damaged."""

import threading
from pathlib import Path

import msgspec
from tests.unit.deploy.jobs import job, package, target

from aweigh.deploy.target import DeployJob
from aweigh.testing.fakes import FakeHandle


def torch_job(folder: Path) -> DeployJob:
    handle = package(folder)
    (folder / "model.pt").write_bytes(bytes(range(256)) * 40_000)
    variant = msgspec.structs.replace(handle.manifest.variants[0], name="torch", runtime="torch", files=("model.pt",))
    manifest = msgspec.structs.replace(handle.manifest, variants=(variant,))
    return job(folder, "torchserve", package=FakeHandle(manifest, folder, name="fraud", version=3))


def render(made: DeployJob) -> Path:
    archive = target("torchserve").render(made).files["fraud.mar"]
    assert isinstance(archive, Path)
    return archive


def test_a_damaged_archive_is_made_again_and_a_whole_one_is_not(tmp_path: Path) -> None:
    made = torch_job(tmp_path)
    archive = render(made)
    data, inode = archive.read_bytes(), archive.stat().st_ino
    assert render(made).stat().st_ino == inode
    for damaged in (data[: len(data) // 2], data[:5000] + b"x" + data[5001:], b""):
        archive.write_bytes(damaged)
        assert render(made).read_bytes() == data


def test_two_at_once_leave_one_whole_archive(tmp_path: Path) -> None:
    made = torch_job(tmp_path)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(render(made).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [path.suffix for path in render(made).parent.iterdir()] == [".mar"]
