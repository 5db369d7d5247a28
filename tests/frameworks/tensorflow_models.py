"""Small Keras networks as the text of a script: the sources of the tests of Keras, SavedModel and TensorFlow Lite. Their batch statistics are learned, their weights drawn."""

NETWORKS = """
import keras, numpy as np
from keras import layers as L

def patterns():
    random = np.random.default_rng(0)
    y = random.integers(0, 10, 400)
    shapes = np.random.default_rng(1).normal(size=(10, 8, 8, 1))
    x = (shapes[y] + 0.3 * random.normal(size=(400, 8, 8, 1))).astype("float32")
    return x, y

def dense():
    return keras.Sequential([L.Input((8, 8, 1)), L.Flatten(), L.Dense(32, activation="relu"), L.BatchNormalization(), L.Dropout(0.5),
                             L.Dense(10, activation="softmax")])

def cnn():
    image = L.Input((8, 8, 1), name="image")
    h = L.Conv2D(8, 3, padding="same", activation="relu")(image)
    h = L.BatchNormalization()(h)
    h = L.GlobalAveragePooling2D()(L.MaxPooling2D()(h))
    return keras.Model(image, L.Dense(10, name="digit")(L.Dropout(0.5)(h)))

def lstm():
    return keras.Sequential([L.Input((8, 8, 1)), L.Reshape((8, 8)), L.LSTM(16), L.Dense(10, activation="softmax")])

def transformer():
    tokens = L.Input((None,), dtype="int32", name="tokens")
    h = L.Embedding(17, 16)(tokens)
    h = L.LayerNormalization()(h + L.MultiHeadAttention(2, 8)(h, h))
    h = L.LayerNormalization()(h + L.Dense(16)(L.Dense(32, activation="gelu")(h)))
    return keras.Model(tokens, L.Dense(10, activation="softmax")(L.GlobalAveragePooling1D()(h)))

def made(make):
    keras.utils.set_random_seed(0)
    model = make()
    x, _ = patterns()
    if model.inputs[0].dtype == "int32":
        x = np.clip((x[:, :, :, 0].reshape(400, 64)[:, :12] * 3 + 8), 0, 16).astype("int32")
    for _ in range(3):
        model(x, training=True)
    head = model.layers[-1]
    head.set_weights([4 * weights for weights in head.get_weights()])  # answers that are decided
    return model, x[:64]

MODELS = {"dense": dense, "cnn": cnn, "lstm": lstm, "transformer": transformer}
"""
