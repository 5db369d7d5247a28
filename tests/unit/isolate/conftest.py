"""Makes the module `hostile`, whose functions children run, and its folder, which the child gets as a path."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def paths() -> tuple[str, ...]:
    return (str(HERE / "targets"),)
