"""A person's own module for Keras: a model from the start, and training code with the hook, by `fit` and by a loop."""

from pathlib import Path

import keras
import numpy as np

DATA = dict(np.load(Path(__file__).with_name("digits.npz")))


def train(model, callbacks, data, epochs=4):
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    given = {"batch_size": 64, "epochs": epochs, "verbose": 0, "validation_data": (DATA["x_valid"], DATA["y_valid"])}
    model.fit(DATA["x_train"], DATA["y_train"], callbacks=[callbacks.fit("val_accuracy")], **given)


def write():
    keras.utils.set_random_seed(3)
    pixels = keras.Input((64,), name="pixels")
    x = keras.layers.Reshape((8, 8, 1))(pixels)
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Dense(64, activation="relu")(x)
    model = keras.Model(pixels, keras.layers.Dense(10)(x))
    model.compile(keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(DATA["x_train"], DATA["y_train"], batch_size=64, epochs=12, verbose=0)
    model.save("keras.keras")
    np.savez("keras.npz", valid=model(DATA["x_valid"], training=False).numpy(), test=model(DATA["x_test"], training=False).numpy())
