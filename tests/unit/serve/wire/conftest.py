"""A listener behind no port, and the h2 library as its peer."""

import pytest
from tests.serving.kit import Http2Peer, Rig, rig


@pytest.fixture
def server() -> Rig:
    return rig()


@pytest.fixture
def peer(server: Rig) -> Http2Peer:
    return Http2Peer(server)
