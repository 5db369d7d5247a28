"""JAX models of three kinds and their parameters as files, for test_jax.py: run in JAX's environment. The module `own` is the person's."""

OWN = """
from pathlib import Path

import flax.linen
import flax.nnx
import jax.numpy as jnp

Path(__file__).with_name("imported").touch()


class Dense(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x, train: bool = False):
        x = jnp.tanh(flax.linen.Dense(5)(x))
        x = flax.linen.BatchNorm(use_running_average=not train)(x)
        return flax.linen.Dense(3)(flax.linen.Dropout(0.5, deterministic=not train)(x))


class Stack(flax.nnx.Module):
    def __init__(self, rngs):
        self.layers = flax.nnx.List([flax.nnx.Linear(4, 5, rngs=rngs), flax.nnx.Linear(5, 3, rngs=rngs)])

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.layers[0](x)))


def other():
    return flax.linen.Sequential([flax.linen.Dense(7), flax.linen.Dense(3)])


def predict(parameters, x):
    for layer in parameters[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ parameters[-1]["w"] + parameters[-1]["b"]
"""
FILES = """
import json
import flax.nnx
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import own

random = np.random.default_rng(3)
sample, fresh = random.normal(size=(30, 4)).astype(np.float32), random.normal(size=(50, 4)).astype(np.float32)
np.save("sample.npy", sample)
np.save("fresh.npy", fresh)

linen = own.Dense()
variables = linen.init(jax.random.key(1), sample)
open("linen.msgpack", "wb").write(flax.serialization.to_bytes(variables))
np.save("linen.npy", linen.apply(variables, fresh))

layers = [{"w": random.normal(size=(4, 5)).astype(np.float32), "b": np.ones(5, np.float32)}, {"w": random.normal(size=(5, 3)).astype(np.float32), "b": np.zeros(3, np.float32)}]
np.savez("function.npz", **{f"{at}/{name}": array for at, layer in enumerate(layers) for name, array in layer.items()})
np.save("function.npy", own.predict(layers, fresh))

stack = own.Stack(flax.nnx.Rngs(7))
flat = {}
for path, leaf in jax.tree_util.tree_flatten_with_path(flax.nnx.to_pure_dict(flax.nnx.state(stack, flax.nnx.Param)))[0]:
    flat[".".join(str(getattr(key, "key", key)) for key in path)] = np.asarray(leaf)
header, body = {}, b""
for name, array in flat.items():
    header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(body), len(body) + array.nbytes]}
    body += array.tobytes()
said = json.dumps(header).encode()
open("nnx.safetensors", "wb").write(len(said).to_bytes(8, "little") + said + body)
np.save("nnx.npy", stack(fresh))
"""
