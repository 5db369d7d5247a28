"""Makes a JAX program of digits for `make frameworks`: `jax_source.py KIND-FORMAT FOLDER`, run where JAX is."""

import functools
import json
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from flax import nnx

kind = sys.argv[1].split("-")[0]
folder = Path(sys.argv[2])
found = np.load(Path(__file__).with_name("digits.npz"))
x, y = found["x"].astype(np.float32), found["y"]
x = x.reshape(-1, 8, 8, 1) if kind == "cnn" else x.reshape(-1, 8, 8) if kind in {"rnn", "transformer"} else x


class Net(nnx.Module):
    """One network of the kind that is asked for."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        if kind == "mlp":
            self.inner = nnx.Linear(64, 64, rngs=rngs)
        elif kind == "cnn":
            self.inner = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        elif kind == "rnn":
            self.inner, self.back = nnx.Linear(8, 64, rngs=rngs), nnx.Linear(64, 64, rngs=rngs)
        elif kind == "transformer":
            self.inner, self.attention = nnx.Linear(8, 64, rngs=rngs), nnx.MultiHeadAttention(4, 64, decode=False, rngs=rngs)
        self.head = nnx.Linear(64 if kind != "cnn" else 16, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        if kind == "linear":
            return self.head(x)
        if kind == "mlp":
            return self.head(nnx.relu(self.inner(x)))
        if kind == "cnn":
            return self.head(nnx.relu(self.inner(x)).mean((1, 2)))
        if kind == "transformer":
            inner = self.inner(x)
            return self.head((inner + self.attention(inner)).mean(1))
        states, _ = jax.lax.scan(
            lambda at, row: (jnp.tanh(self.inner(row) + self.back(at)), None), jnp.zeros((x.shape[0], 64)), x.swapaxes(0, 1)
        )
        return self.head(states)


graph, weights = nnx.split(Net(nnx.Rngs(0)))


def answer(weights: nnx.State, x: jax.Array) -> jax.Array:
    """The network with these weights."""
    return nnx.merge(graph, weights)(x)


@jax.jit
def learn(weights: nnx.State, x: jax.Array, y: jax.Array) -> nnx.State:
    """One step down the slope."""
    slope = jax.grad(lambda weights: -jnp.take_along_axis(jax.nn.log_softmax(answer(weights, x)), y[:, None], 1).mean())(weights)
    return jax.tree.map(lambda a, b: a - 0.1 * b, weights, slope)


for step in range(60):
    at = slice(step * 25 % 1400, step * 25 % 1400 + 100)
    weights = learn(weights, x[at], y[at])
held = x[1500:1596]
(batch,) = jax.export.symbolic_shape("batch")
shape = jax.ShapeDtypeStruct((batch, *held.shape[1:]), jnp.float32)
(folder / "model.jax").write_bytes(jax.export.export(jax.jit(functools.partial(answer, weights)))(shape).serialize())
np.savez(folder / "answers.npz", np.asarray(answer(weights, held)))
np.savez(folder / "sample.npz", held)
print(json.dumps({"file": str(folder / "model.jax"), "sample": str(folder / "sample.npz"), "words": []}))
