"""Asking a live Keras model. Called by packing, and by passes that train with Keras."""

from typing import Any

import keras


def flat_answer(model: Any, flat: Any) -> list[Any]:
    """Answers to flat inputs, as at inference: dropout off, batch statistics as learned."""
    structure = (
        model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    )  # a Sequential that was not called says nothing of the latter
    return list(keras.tree.flatten(model(keras.tree.pack_sequence_as(structure, list(flat)), training=False)))
