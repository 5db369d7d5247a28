"""Real remotes, started once for the contract suite."""

import shutil
from collections.abc import Iterator

import pytest
from tests.remotes.servers import Registry, docker_registry, s3_server


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A docker-registry with TLS and a password."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry (Debian package docker-registry)")
    with docker_registry(program, tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's S3."""
    with s3_server(tmp_path_factory.mktemp("s3")) as address:
        yield address
