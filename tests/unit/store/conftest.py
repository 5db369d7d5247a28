"""A small whole draft, made from the committed sample of the format, and a store in a fresh folder."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aweigh.core.names import ModelName, model_name
from aweigh.core.package import decode_manifest
from aweigh.core.protocols import Draft
from aweigh.store import Store, Terms

SAMPLE = Path(__file__).parents[2] / "data/formats/aweigh-1.json"
MakeDraft = Callable[..., Draft]


@pytest.fixture
def make_draft() -> MakeDraft:
    """Makes a draft; `weights` are the bytes of its ONNX file, further keywords replace fields of the manifest."""

    def make(weights: bytes = b"weights", **changes: object) -> Draft:
        manifest = decode_manifest(SAMPLE.read_bytes())
        contents = {file.path: f"content of {file.path}".encode() for file in manifest.files}
        contents["variants/onnx/model.onnx"] = weights
        return Draft(manifest=msgspec.structs.replace(manifest, files=(), **changes), files=contents)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", lock_timeout_s=5.0)


@pytest.fixture
def name() -> ModelName:
    return model_name("fraud")


@pytest.fixture
def terms() -> Terms:
    """Terms that take anything."""
    return Terms(permit=lambda manifest: None, judge=lambda package: None, origin="a test")
