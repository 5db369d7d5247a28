"""A small network of depthwise convolutions, which dynamic INT8 makes slower: what is kept must not be slower than what was there."""

from typing import Final

from bench.optimize.classify import Scenario, run
from bench.optimize.results import Bar, Document

SCENARIO: Final = Scenario(
    name="depthwise",
    title="Separable convolutions, 32 x 32 pixels, digits",
    side=32,
    factory="bench.optimize.models:Depthwise",
    batch=16,
    seconds=120,
    bars=(
        Bar(what="never slower, single pictures", who="aweigh", rows=1, least=1.0),
        Bar(what="never slower, batches of 16", who="aweigh", rows=16, least=1.0),
    ),
)


def measure() -> Document:
    return run(SCENARIO)
