"""Makes a Keras model of digits for `make frameworks`: `keras_source.py KIND-FORMAT FOLDER`, run where TensorFlow is."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

kind, form = sys.argv[1].split("-")
folder = Path(sys.argv[2])
found = np.load(Path(__file__).with_name("digits.npz"))
x, y = found["x"].astype(np.float32), found["y"]
shape = {"cnn": (8, 8, 1), "rnn": (8, 8), "transformer": (8, 8)}.get(kind, (64,))
x = x.reshape(-1, *shape)
keras.utils.set_random_seed(0)
inner = keras.Input(shape, name="digit")
if kind == "linear":
    out = inner
elif kind == "mlp":
    out = keras.layers.Dropout(0.1)(keras.layers.Dense(64, "relu")(inner))
elif kind == "cnn":
    out = keras.layers.Conv2D(16, 3, activation="relu")(inner)
    out = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(out))
elif kind == "rnn":
    out = keras.layers.LSTM(32)(inner)
else:
    out = keras.layers.Dense(32)(inner)
    out = keras.layers.LayerNormalization()(out + keras.layers.MultiHeadAttention(4, 8)(out, out))
    out = keras.layers.GlobalAveragePooling1D()(out)
model = keras.Model(inner, keras.layers.Dense(10, activation="softmax", name="scores")(out))
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x[:1500], y[:1500], epochs=1, verbose=0)
held = x[1500:1596]
answers = model.predict(held, verbose=0)
if form == "savedmodel":
    file = folder / "saved"
    model.export(str(file), verbose=False)
elif form == "tflite":
    file = folder / "model.tflite"
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    file.write_bytes(converter.convert())
elif form == "int8":
    file = folder / "int8.tflite"
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[at : at + 1]] for at in range(100))
    file.write_bytes(converter.convert())
else:
    file = folder / f"model.{form}"
    model.save(file)
if form in {"tflite", "int8"}:  # a converted file is its own source: what it answers itself is right
    interpreter = tf.lite.Interpreter(model_content=file.read_bytes())
    given = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(given, held.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given, held)
    interpreter.invoke()
    answers = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
np.savez(folder / "sample.npz", held)
np.savez(folder / "answers.npz", answers)
print(json.dumps({"file": str(file), "sample": str(folder / "sample.npz"), "words": []}))
