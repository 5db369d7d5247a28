"""Samples for the contract of the runtime `tensorflow`: SavedModels made where TensorFlow is. See test_contract.py."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from aweigh.core.package import Variant
from aweigh.core.signature import Signature, TensorSpec
from aweigh.core.tensors import Datatype, Tensor
from aweigh.testing import RuntimeSample

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


class Columns(tf.Module):  # type: ignore[misc]  # the library has no types
    """y = tanh(x W), z = which column of it is greatest."""

    def __init__(self) -> None:
        self.weights = tf.Variable(WEIGHTS)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def answer(self, x: Any) -> dict[str, Any]:
        y = tf.tanh(x @ self.weights)
        return {"y": y, "z": tf.argmax(y, axis=1)}


class Words(tf.Module):  # type: ignore[misc]
    """Texts through a table, and in small letters."""

    def __init__(self) -> None:
        keys = tf.lookup.KeyValueTensorInitializer(
            tf.constant(["a", "\N{LATIN SMALL LETTER U WITH DIAERESIS}"]), tf.constant([1, 2], tf.int64)
        )
        self.table = tf.lookup.StaticHashTable(keys, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])  # type: ignore[untyped-decorator]
    def answer(self, words: Any) -> dict[str, Any]:
        return {"ids": self.table.lookup(words), "lower": tf.strings.lower(words, encoding="utf-8")}


def samples(folder: Path) -> list[RuntimeSample]:
    x = np.array([[0.1, -0.2, 0.3, 0.4], [0.5, -0.6, 0.7, -0.8]], dtype=np.float32)
    y = np.tanh(x @ WEIGHTS)
    words = np.array(["a", "\N{LATIN CAPITAL LETTER U WITH DIAERESIS}", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", ""], dtype=object)
    lower = np.array(["a", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", ""], dtype=object)
    return [
        _sample(folder / "columns", Columns(), {"x": x}, {"y": y, "z": y.argmax(axis=1)}),
        _sample(folder / "words", Words(), {"words": words}, {"ids": np.array([1, -1, 2, -1]), "lower": lower}),
    ]


def _sample(folder: Path, module: Any, inputs: dict[str, Tensor], expected: dict[str, Tensor]) -> RuntimeSample:
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.answer})
    others = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file() and each.name != "saved_model.pb")
    return RuntimeSample(
        variant=Variant(name="tensorflow", runtime="tensorflow", precision="native", files=("saved_model.pb", *others)),
        signature=Signature(
            inputs=tuple(_spec(name, tensor) for name, tensor in inputs.items()),
            outputs=tuple(_spec(name, tensor) for name, tensor in expected.items()),
        ),
        folder=folder,
        inputs=inputs,
        expected=list(expected.values()),
    )


def _spec(name: str, tensor: Tensor) -> TensorSpec:
    datatype = {"f": Datatype.FP32, "i": Datatype.INT64, "O": Datatype.BYTES}[tensor.dtype.kind]
    return TensorSpec(name=name, datatype=datatype, shape=("batch", *tensor.shape[1:]))
