"""A perceptron of digits, 64-512-512-10, at batches of 256."""

from typing import Final

from bench.optimize.classify import Scenario, run
from bench.optimize.results import Bar, Document

SCENARIO: Final = Scenario(
    name="mlp",
    title="A perceptron, 64-512-512-10, digits",
    side=0,
    factory="bench.optimize.models:Mlp",
    batch=256,
    seconds=180,
    train="bench.optimize.models:train_mlp",
    peers=True,
    bars=(
        Bar(what="equal accuracy, batches of 256", who="aweigh", rows=256, least=2.4),
        Bar(what="with structured pruning, batches of 256", who="aweigh --train", rows=256, least=7.0),
    ),
)


def measure() -> Document:
    return run(SCENARIO)
