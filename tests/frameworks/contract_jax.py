"""Samples for the contract of the runtime `jax`: made where JAX is. See test_contract.py."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aweigh.core.package import Variant
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype
from aweigh.testing import RuntimeSample


def samples(folder: Path) -> list[RuntimeSample]:
    """y = tanh(x W), z = which column of it is greatest: two named outputs of two datatypes, any batch."""
    weights = np.arange(12, dtype=np.float32).reshape(4, 3) / 10

    def answer(x: jax.Array) -> dict[str, jax.Array]:
        y = jnp.tanh(x @ weights)
        return {"y": y, "z": jnp.argmax(y, axis=1).astype(jnp.int32)}

    (batch,) = jax.export.symbolic_shape("batch")
    program = jax.export.export(jax.jit(answer), platforms=["cpu"])(jax.ShapeDtypeStruct((batch, 4), jnp.float32))
    (folder / "model.jax").write_bytes(program.serialize())
    x = np.array([[0.1, -0.2, 0.3, 0.4], [0.5, -0.6, 0.7, -0.8]], dtype=np.float32)
    y = np.tanh(x @ weights)
    return [
        RuntimeSample(
            variant=Variant(name="jax", runtime="jax", precision="native", files=("model.jax",)),
            signature=Signature(
                inputs=(TensorSpec(name="x", datatype=Datatype.FP32, shape=("batch", 4)),),
                outputs=(
                    TensorSpec(name="y", datatype=Datatype.FP32, shape=("batch", 3)),
                    TensorSpec(name="z", datatype=Datatype.INT32, shape=("batch",), role="label"),
                ),
            ),
            folder=folder,
            inputs={"x": x},
            expected=[y, y.argmax(axis=1).astype(np.int32)],
        )
    ]
