"""Every kind of remote passes the contract: in memory, a real registry, an object store in memory, S3 by a peer of its protocol."""

from pathlib import Path

import msgspec
import pytest
from obstore.store import MemoryStore
from tests.remotes import servers

from aweigh.core.names import model_name
from aweigh.core.package import decode_manifest
from aweigh.core.plugins import load, plugins
from aweigh.core.protocols import Draft, Remote
from aweigh.store import Store, Terms, find_offer, push
from aweigh.store.remotes import Access, parse_address
from aweigh.store.remotes.objects import Objects, open_s3
from aweigh.store.remotes.registry import Registry
from aweigh.testing import MemoryRemote, RemoteContract


class TestMemory(RemoteContract):
    @pytest.fixture(autouse=True)
    def _places(self) -> None:
        self.places: dict[str, MemoryRemote] = {}

    def remote(self, name: str) -> Remote:
        return self.places.setdefault(name, MemoryRemote())


class TestObjectsInMemory(RemoteContract):
    @pytest.fixture(autouse=True)
    def _place(self) -> None:
        self.store = MemoryStore()

    def remote(self, name: str) -> Remote:
        return Objects(self.store, parse_address(f"s3://bucket/{name}"), Access())


class TestS3(RemoteContract):
    @pytest.fixture(autouse=True)
    def _place(self, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = {
            "AWS_ENDPOINT_URL": s3, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
        }  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    def remote(self, name: str) -> Remote:
        return open_s3(parse_address(f"s3://bucket/{name}"), Access(plain_http=True))

    def test_a_package_goes_there_and_back(self, tmp_path: Path) -> None:
        """A weight of 20 MB, which goes in several parts; the second push sends nothing."""
        manifest = decode_manifest((Path(__file__).parents[2] / "data/formats/aweigh-1.json").read_bytes())
        files: dict[str, bytes | Path] = {file.path: file.path.encode() for file in manifest.files}
        files["variants/onnx/model.onnx"] = bytes(20_000_000)
        draft = Draft(manifest=msgspec.structs.replace(manifest, files=()), files=files)
        package = Store(tmp_path / "here").publish(model_name("fraud"), draft)
        assert push(package, self.remote("models/fraud"), ["v1"]).kept == 0
        assert push(package, self.remote("models/fraud"), ["v1"]).sent == 0
        terms = Terms(permit=lambda manifest: None, judge=lambda package: package.verify(), origin="s3")
        offer = find_offer(self.remote("models/fraud"), place="s3")
        assert Store(tmp_path / "there").adopt(model_name("fraud"), offer, terms).digest == package.digest


class TestRegistry(RemoteContract):
    """With sizes at which every blob of the contract goes in pieces, or none does."""

    @pytest.fixture(autouse=True, params=[1000, 10**9], ids=["in pieces", "whole"])
    def _place(self, registry: servers.Registry, request: pytest.FixtureRequest) -> None:
        self.host = registry.host
        self.size = request.param
        self.access = Access(ca_file=str(registry.ca_file), username=servers.USER, password=servers.PASSWORD)

    def remote(self, name: str) -> Remote:
        kind = "pieces" if self.size == 1000 else "whole"
        address = parse_address(f"{self.host}/{kind}/{name}")
        return Registry(address, self.access, whole_bytes=self.size, piece_bytes=100_000)


def test_every_remote_that_is_not_experimental_is_held_to_the_contract_here() -> None:
    assert {row.name for row in plugins("remote") if not row.experimental} == {"oci", "s3"}
    assert all(callable(load("remote", row.name)) for row in plugins("remote"))
