"""The store under real processes: changes killed at every step, no permission, and several at once. Publications: tests/faults."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import pytest
from tests.stores.killed import check, in_child, killed_at, walk

from aweigh.core.names import alias_name, model_name, parse_reference
from aweigh.store import Archive, Store, Terms, export_archive, find_offer, push
from aweigh.testing import MemoryRemote

MODEL = "variants/onnx/model.onnx"


@pytest.mark.parametrize("what", ["alias", "remove", "collect", "view"])
def test_other_changes_killed_at_any_step(tmp_path, make_draft, what):
    name = model_name("fraud")

    def prepare(store: Store) -> None:
        store.publish(name, make_draft())
        store.publish(name, make_draft(b"2"))
        if what == "collect":
            store.open(parse_reference("fraud:2")).path(MODEL)
            store.remove(parse_reference("fraud:2"))

    work = {
        "alias": lambda store: store.set_alias(name, alias_name("champion"), 2),
        "remove": lambda store: store.remove(parse_reference("fraud:2")),
        "collect": lambda store: store.collect(grace_s=-10),
        "view": lambda store: store.open(parse_reference("fraud:2")).path(MODEL),
    }[what]
    outcomes = walk(tmp_path, prepare, work)
    assert len(outcomes) > 3
    for store, names in outcomes:
        assert "fraud:1" in names
        work(store) if not (what == "remove" and "fraud:2" not in names) else None
        check(store)
        assert store.publish(name, make_draft(b"3")).reference.version == 3


def test_a_pull_killed_at_any_step_is_absent_or_complete_and_goes_on_from_there(tmp_path, make_draft):
    name, remote = model_name("fraud"), MemoryRemote(chunk_bytes=5000)
    push(Store(tmp_path / "source").publish(name, make_draft(b"1")), remote, ["v7"])
    terms = Terms(permit=lambda manifest: None, judge=lambda package: None, origin="a test")

    def prepare(store: Store) -> None:
        store.publish(name, make_draft(b"2"))
        store.publish(name, make_draft(b"3"))
        store.remove(parse_reference("fraud:2"))

    def work(store: Store) -> None:
        store.adopt(name, find_offer(remote, place="memory"), terms)

    outcomes = walk(tmp_path / "stores", prepare, work)
    held = [names for _, names in outcomes]
    assert held[0] == ["fraud:1"]
    assert held[-1] == ["fraud:1", "fraud:7"]
    assert held == sorted(held)
    for store, _ in outcomes[::3]:
        store.collect(grace_s=-10)  # what the killed pull left behind goes, and nothing else
        assert store.check().whole
        work(store)
        assert check(store) == ["fraud:1", "fraud:7"]


def test_an_export_killed_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path, make_draft):
    store, file = Store(tmp_path / "store"), tmp_path / "fraud.tar"
    package = store.publish(model_name("fraud"), make_draft())
    for number in range(100):
        file.write_bytes(b"old")
        status = in_child(lambda number=number: export_archive(package, file, files=killed_at(number)))
        if file.read_bytes() != b"old":
            with Archive(file) as archive:
                assert archive.offer().digest == package.digest
        if status == 0:
            assert number > 5
            return


def test_a_repair_killed_at_any_step_loses_nothing(tmp_path, make_draft):
    name = model_name("fraud")

    def prepare(store: Store) -> None:
        store.publish(name, make_draft()).path(MODEL)
        store.set_alias(name, alias_name("champion"), 1)
        (store.folder / "index.json").write_bytes(b"{")
        (store.folder / "oci-layout").unlink()
        (store.folder / "blobs/sha256" / ("0" * 64)).write_bytes(b"x")

    for number in range(100):
        store = Store(tmp_path / str(number))
        prepare(store)
        status = in_child(lambda store=store, number=number: Store(store.folder, files=killed_at(number)).check(repair=True))
        store.check(repair=True)
        assert check(store) == ["fraud:1"]
        assert store.check().whole
        if status == 0:
            assert number > 5
            return


def _publish_many(folder: Path, name: str, number: int, make) -> None:
    for turn in range(5):
        Store(folder).publish(model_name(name), make(f"{number}-{turn}".encode()))


def test_processes_that_publish_at_once_each_get_their_own_version(tmp_path, make_draft):
    fork = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        children = [fork.Process(target=_publish_many, args=(tmp_path / "store", "fraud", number, make_draft)) for number in range(4)]
        for child in children:
            child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    store = Store(tmp_path / "store")
    assert check(store) == [f"fraud:{number}" for number in range(1, 21)]
    contents = {store.open(line.reference).path(MODEL).read_bytes() for line in store.list()}
    assert contents == {f"{number}-{turn}".encode() for number in range(4) for turn in range(5)}


def test_a_publisher_and_a_collector_at_once_lose_nothing(tmp_path, make_draft):
    folder = tmp_path / "store"

    def collect_on() -> None:
        while True:
            Store(folder).collect(grace_s=-10)

    Store(folder).publish(model_name("first"), make_draft(b"first"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        collector = os.fork()
    if collector == 0:
        try:
            collect_on()
        finally:
            os._exit(1)
    try:
        for turn in range(15):
            Store(folder).publish(model_name("fraud"), make_draft(str(turn).encode()))
    finally:
        os.kill(collector, signal.SIGKILL)
        os.waitpid(collector, 0)
    assert len(check(Store(folder))) == 16


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    sample = Path(__file__).parents[2] / "data/formats/aweigh-1.json"
    head = """
        import difflib, msgspec, os, resource, sys  # difflib: what is imported late may be out of reach by then
        from pathlib import Path
        from aweigh.core.errors import AweighError
        from aweigh.core.names import model_name, parse_reference
        from aweigh.core.package import decode_manifest
        from aweigh.core.protocols import Draft
        from aweigh.store import Store
        manifest = decode_manifest(Path(sys.argv[1]).read_bytes())
        files = {file.path: b"x" for file in manifest.files}
        draft = Draft(manifest=msgspec.structs.replace(manifest, files=()), files=files)
        store = Store(Path(sys.argv[2]))
        def attempt(act):
            try:
                print("done", act())
            except AweighError as error:
                print(error.code, "|", error.message, "|", error.hint)
    """
    command = [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script), str(sample), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


@pytest.mark.parametrize("published", [True, False])
def test_a_folder_without_permission(make_draft, published):
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: another user must be able to reach it
        Path(folder).chmod(0o755)
        store = Store(Path(folder) / "store")
        if published:
            store.publish(model_name("fraud"), make_draft())
        else:
            Path(folder).chmod(0o555)
        for path in (store.folder, *store.folder.rglob("*")) if published else ():
            path.chmod(0o555 if path.is_dir() else 0o444)
        script = """
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            attempt(lambda: store.publish(model_name("fraud"), draft))
            attempt(lambda: len(store.list()))
            attempt(lambda: store.remove(parse_reference("fraud:1")))
            attempt(lambda: store.open(parse_reference("fraud")).path("golden/sample.tensors").read_bytes())
        """
        publish, listed, removed, opened = run(script, str(store.folder)).stdout.splitlines()
        assert publish.startswith("store-unavailable |")
        assert "check the folder's owner and permissions" in publish
        assert listed == f"done {int(published)}"
        assert removed.startswith("store-unavailable |" if published else "model-not-found |")
        assert opened.startswith("done b'content" if published else "model-not-found |")
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
