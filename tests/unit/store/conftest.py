"""A small whole draft, and a store in a fresh folder."""

from pathlib import Path

import pytest
from tests.stores.drafts import make_draft

from aweigh.core.names import ModelName, model_name
from aweigh.store import Store, Terms

__all__ = ["make_draft"]


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
