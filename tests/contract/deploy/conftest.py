"""A home with small packages, made once for all targets."""

from pathlib import Path

import pytest
from tests.deploying.packages import pack_linear


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """'linear', 'fixed' (no batch axis) and 'mean' (rows hang on their neighbours)."""
    place = tmp_path_factory.mktemp("home")
    pack_linear(place)
    pack_linear(place, "fixed", batched=False)
    pack_linear(place, "mean", neighbours=True)
    return place
