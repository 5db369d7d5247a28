"""Models that tests pack, by kind; a copy runs in the environment `jax`. `made(kind)` gives the live model, rows for it, and its own answers to them."""

import functools
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def linear() -> Any:
    random = np.random.default_rng(0)
    return functools.partial(
        lambda weights, x: x @ weights["kernel"] + weights["bias"],
        {"kernel": jnp.asarray(random.normal(size=(6, 3)), jnp.float32), "bias": jnp.ones(3)},
    )


class Mlp(linen.Module):
    @linen.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = linen.relu(linen.Dense(16)(x))
        x = linen.Dropout(0.5, deterministic=not train)(x)
        return {"probabilities": linen.softmax(linen.Dense(3)(x))}


def mlp() -> Any:
    module = Mlp()
    return module, module.init(jax.random.key(0), jnp.zeros((1, 6)), train=False)


class Cnn(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(8 * 4 * 4, 10, rngs=rngs)

    def __call__(self, image: Any) -> Any:
        x = nnx.relu(self.norm(self.conv(image)))
        x = nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        return self.out(self.drop(x.reshape(x.shape[0], -1)))


def cnn() -> Any:
    model = Cnn(nnx.Rngs(0))
    for seed in range(3):  # statistics of its own; left in training on purpose
        model(2 + 3 * jax.random.normal(jax.random.key(seed), (16, 8, 8, 1)))
    return model


def recurrent() -> Any:
    random = np.random.default_rng(1)
    weights = {
        name: jnp.asarray(random.normal(size=size) * 0.4, jnp.float32) for name, size in (("in", (5, 8)), ("back", (8, 8)), ("out", (8, 2)))
    }

    def run(weights: Any, sequence: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            state = jnp.tanh(x @ weights["in"] + state @ weights["back"])
            return state, None

        last, _ = jax.lax.scan(step, jnp.zeros((sequence.shape[0], 8)), jnp.swapaxes(sequence, 0, 1))
        return last @ weights["out"]

    return run, weights


class Attending(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(20, 16, rngs=rngs)
        self.first = nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=16, decode=False, rngs=rngs)
        self.second = nnx.LayerNorm(16, rngs=rngs)
        self.up = nnx.Linear(16, 32, rngs=rngs)
        self.down = nnx.Linear(32, 16, rngs=rngs)
        self.out = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, ids: Any) -> Any:
        x = self.embed(ids)
        x = x + self.attention(self.first(x))
        x = x + self.down(nnx.gelu(self.up(self.second(x))))
        return self.out(x.mean(axis=1))


def transformer() -> Any:
    return Attending(nnx.Rngs(0))


def made(kind: str) -> Any:
    """The live model."""
    return {"linear": linear, "mlp": mlp, "cnn": cnn, "recurrent": recurrent, "transformer": transformer}[kind]()


SHAPES: dict[str, tuple[int, ...]] = {"linear": (6,), "mlp": (6,), "cnn": (8, 8, 1), "recurrent": (7, 5), "transformer": (9,)}


def rows(kind: str, count: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    if kind == "transformer":
        return random.integers(0, 20, size=(count, *SHAPES[kind])).astype(np.int32)
    return random.normal(size=(count, *SHAPES[kind])).astype(np.float32)


def answers(kind: str, model: Any, given: Any) -> Any:
    if kind == "mlp":
        return model[0].apply(model[1], given, train=False)["probabilities"]
    if kind == "recurrent":
        return model[0](model[1], given)
    if isinstance(model, nnx.Module):
        model.eval()
    return model(given)
