"""Lets requests fall back on other models as the settings say. Called once for each data plane."""

from aweigh.core.fallback import fallbacks_of
from aweigh.core.settings import Settings
from aweigh.engine.circuit import Circuit
from aweigh.engine.routing import Fallback, Routing


def set_up(routing: Routing, settings: Settings) -> None:
    """Let requests fall back as the settings say."""
    for name, other in fallbacks_of(settings).items():
        circuit = Circuit(settings.fallback_failures, settings.fallback_pause_s)
        routing.fall_back(name, Fallback(other=other, patience_s=settings.fallback_after_ms / 1000, circuit=circuit))
