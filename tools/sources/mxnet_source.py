"""Makes an MXNet model of digits for `make frameworks`: `mxnet_source.py KIND-FORMAT FOLDER`, run where MXNet is."""

import json
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import nn

kind = sys.argv[1].split("-")[0]
folder = Path(sys.argv[2])
found = np.load(Path(__file__).with_name("digits.npz"))
x, y = found["x"].astype(np.float32), found["y"].astype(np.float32)
x = x.reshape(-1, 1, 8, 8) if kind == "cnn" else x
mx.random.seed(0)
net = nn.HybridSequential()
if kind == "mlp":
    net.add(nn.Dense(64, activation="relu"), nn.Dropout(0.1))
elif kind == "cnn":
    net.add(nn.Conv2D(16, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(2), nn.Flatten())
net.add(nn.Dense(10))
net.initialize(mx.init.Xavier())
net.hybridize()
trainer, measure = mx.gluon.Trainer(net.collect_params(), "adam"), mx.gluon.loss.SoftmaxCrossEntropyLoss()
for step in range(60):
    at = slice(step * 25 % 1400, step * 25 % 1400 + 100)
    with mx.autograd.record():
        loss = measure(net(mx.nd.array(x[at])), mx.nd.array(y[at]))
    loss.backward()
    trainer.step(100)
held = x[1500:1596]
np.savez(folder / "answers.npz", net(mx.nd.array(held)).asnumpy())
np.savez(folder / "sample.npz", held)
net.export(str(folder / "model"))
print(json.dumps({"file": str(folder / "model-symbol.json"), "sample": str(folder / "sample.npz"), "words": []}))
