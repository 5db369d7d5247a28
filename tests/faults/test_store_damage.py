"""B.3 19: blobs in the store are damaged while a server runs: what is damaged is not loaded, what serves serves on, and operators are told."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.conftest import Start
from tests.faults.leaks import Leaks
from tests.faults.load import Load
from tests.faults.shelves import index, load, logged, metric, model_blob, pack_next, post, shelf_of
from tests.serving.workers import until

Damage = Callable[[Path], None]


@contextlib.contextmanager
def opened(path: Path):
    path.chmod(0o644)
    with path.open("r+b") as file:
        yield file


def flip(path: Path) -> None:
    with opened(path) as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate(path: Path) -> None:
    with opened(path) as file:
        file.truncate(path.stat().st_size - 1)


def link(path: Path) -> None:
    """The right bytes, behind a link."""
    path.rename(path.with_name("twin"))
    path.symlink_to(path.with_name("twin"))


def every_day(damage: Damage, workers: str) -> bool:
    """Of all combinations, those that every run of the tests makes."""
    return (damage is flip) == (workers == "1")


@pytest.mark.parametrize(
    ("damage", "workers"),
    [
        pytest.param(damage, workers, marks=() if every_day(damage, workers) else pytest.mark.slow)
        for damage in (flip, truncate, link)
        for workers in ("1", "2")
    ],
)
def test_19_a_damaged_version_is_refused_and_the_old_one_serves(
    start: Start, home: Path, tmp_path: Path, damage: Damage, workers: str
) -> None:
    shelf = shelf_of(home, tmp_path)
    server = start("linear", "--workers", workers, where=shelf)
    assert pack_next(shelf, tmp_path) == "linear:2"
    blob = model_blob(shelf, "linear:2")
    shutil.copy2(blob, tmp_path / "whole")
    damage(blob)
    leaks = Leaks(server)
    with Load(server, rate=50) as clients:
        for version in (0, 2):
            status, said = load(server, version)
            assert status >= 400, said
            assert "linear.onnx" in said["error"] or "model.onnx" in said["error"], said
        state, reason = index(server)["linear", "2"]
        assert state == "UNAVAILABLE"
        assert reason.startswith(("variants/", "linear:2")), reason
        assert reason in said["error"]
        events = logged(server, "was not loaded")
        assert {(line["level"], line["model"], line["version"], line["code"]) for line in events} == {
            ("error", "linear", "2", "invalid-file")
        }
        assert metric(server, "aweigh_model_load_failures_total") == 2 * int(workers)
    assert not clients.lost, clients.told()
    assert set(clients.versions()) == {"1"}
    leaks.check(threads=int(workers))  # the one that loads, begun by the first load
    blob.unlink()  # mended: what was whole is put back
    shutil.copy2(tmp_path / "whole", blob)
    assert load(server) == (200, {})
    assert (
        post(server, "/v2/models/linear/infer", {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})[1][
            "model_version"
        ]
        == "2"
    )


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_19_damage_to_what_serves_is_found_by_the_next_load_alone(start: Start, home: Path, tmp_path: Path, workers: str) -> None:
    shelf = shelf_of(home, tmp_path)
    server = start("linear", "--workers", workers, where=shelf)
    leaks = Leaks(server)
    with Load(server, rate=50) as clients:
        for damage in (flip, truncate):
            damage(model_blob(shelf, "linear:1"))
            status, said = load(server, 1)
            assert status >= 400, said
        (shelf / "store/index.json").write_bytes(b'{"schemaVersion": 2')
        status, said = load(server)
        assert status >= 400
        assert "not an OCI index" in said["error"], said
    assert not clients.lost, clients.told()
    assert set(clients.versions()) == {"1"}
    until(lambda: len(logged(server, "was not loaded")) >= 3)
    leaks.check(threads=int(workers))
