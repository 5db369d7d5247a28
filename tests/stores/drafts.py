"""A small whole draft, made from the committed sample of the format. The fixture is for every conftest that imports it."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aweigh.core.package import decode_manifest
from aweigh.core.protocols import Draft

SAMPLE = Path(__file__).parents[1] / "data/formats/aweigh-1.json"
MakeDraft = Callable[..., Draft]


def small_draft(weights: bytes = b"weights", **changes: object) -> Draft:
    """A draft; `weights` are the bytes of its ONNX file, further keywords replace fields of the manifest."""
    manifest = decode_manifest(SAMPLE.read_bytes())
    contents = {file.path: f"content of {file.path}".encode() for file in manifest.files}
    contents["variants/onnx/model.onnx"] = weights
    return Draft(manifest=msgspec.structs.replace(manifest, files=(), **changes), files=contents)


@pytest.fixture
def make_draft() -> MakeDraft:
    """Makes small drafts."""
    return small_draft
