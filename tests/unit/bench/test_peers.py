"""Peers as data: every one is pinned and quoted, and says what it does not speak."""

import tomllib

import pytest
from bench import environments
from bench.peers import ONE_WORKER, PEERS, TWO_CORES
from bench.scenarios import SCENARIOS, WITH_PEERS

KEPT = sorted({peer.kept for peer in PEERS.values() if peer.kept})


def test_the_peers_of_the_comparison() -> None:
    assert KEPT == ["bentoml", "fastapi", "grpcio", "litserve", "mlserver", "ray"]
    assert len({peer.name for peer in (*ONE_WORKER, *TWO_CORES)}) == len(ONE_WORKER) + len(TWO_CORES)
    assert set(WITH_PEERS) <= set(SCENARIOS)


@pytest.mark.parametrize("name", KEPT)
def test_requirements_are_pinned(name: str) -> None:
    folder = environments.PEERS / name
    asked = [line.split(";")[0].split("#")[0].strip() for line in (folder / "requirements.in").read_text().splitlines()]
    pinned = [line for line in (folder / "requirements.txt").read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert all("==" in line for line in (*asked, *pinned))
    assert {line.split("[")[0].split("==")[0] for line in asked} <= {line.split("==")[0] for line in pinned}
    assert "onnxruntime==1.31.1" in {line.split(" ")[0] for line in pinned}


@pytest.mark.parametrize("name", KEPT)
def test_settings_are_quoted_with_their_address(name: str) -> None:
    settings = tomllib.loads((environments.PEERS / name / "settings.toml").read_text())["setting"]
    assert settings
    assert all(set(setting) == {"name", "url", "quote"} and setting["url"].startswith("https://") for setting in settings)
    assert environments.quotes(name) == settings


@pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
def test_a_peer_speaks_something(peer) -> None:  # type: ignore[no-untyped-def]
    assert set(peer.lacks) < {"json", "binary", "grpc"}
    assert all(peer.lacks.values())
