"""A ResNet-18 of digits that are drawn at 32 x 32 pixels."""

from typing import Final

from bench.optimize.classify import Scenario, run
from bench.optimize.results import Bar, Document

SCENARIO: Final = Scenario(
    name="cnn",
    title="ResNet-18, one channel of 32 x 32 pixels, digits",
    side=32,
    factory="bench.optimize.models:ResNet18",
    batch=16,
    seconds=150,
    train="bench.optimize.models:train_cnn",
    peers=True,
    bars=(
        Bar(what="within 0.5 points, single pictures", who="aweigh", rows=1, least=3.3),
        Bar(what="within 0.5 points, with training code, single pictures", who="aweigh --train", rows=1, least=3.3),
    ),
)


def measure() -> Document:
    return run(SCENARIO)
