"""A damaged conversion of a network: the layer is named at which the graph parts from the framework, the node, the row and both values."""

import json
from pathlib import Path

import pytest
from tests.frameworks.kit import make

pytestmark = pytest.mark.slow

TELL = """
import json, pathlib, numpy as np, onnx
from aweigh.packing import PackRequest, pack
from aweigh.verify import prove

def damage(file, pick):
    proto = onnx.load(str(file))
    at = next(item for item in proto.graph.initializer if pick(item))
    values = onnx.numpy_helper.to_array(at).copy()
    values.flat[0] += 1.0
    at.CopyFrom(onnx.numpy_helper.from_array(values, at.name))
    onnx.save(proto, str(file))

def tell(model, sample):
    draft = pack(model, PackRequest(prove=prove, sample=sample, work=pathlib.Path('work')))
    first = draft.manifest.variants[0]
    pathlib.Path('told.json').write_text(json.dumps([first.runtime, *first.evidence.repairs]))
"""

TORCH = """
import torch
from aweigh.packing.frameworks import torch_ways

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.Tanh())
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x))

for name in ('modern', 'older'):
    write = getattr(torch_ways._Writer, name)
    def damaged(self, folder, *rest, write=write):
        files = write(self, folder, *rest)
        damage(next(iter(files.values())), lambda item: 'body.2.bias' in item.name)
        return files
    setattr(torch_ways._Writer, name, damaged)
torch.manual_seed(3)
tell(Net(), np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32))
"""

KERAS = """
import keras
from aweigh.runtimes import tensorflow_onnx

keras.utils.set_random_seed(3)
layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation='relu', name='look'), keras.layers.BatchNormalization(name='level'),
          keras.layers.Flatten(name='flat'), keras.layers.Dense(8, activation='tanh', name='think'), keras.layers.Dense(3, name='say')]
model = keras.Sequential(layers)
bias = np.arange(8, dtype=np.float32) / 10
model.get_layer('think').bias.assign(bias)
write = tensorflow_onnx.write
def damaged(proto, signature, path, *rest):
    write(proto, signature, path, *rest)
    damage(path, lambda item: onnx.numpy_helper.to_array(item).shape == (8,) and np.allclose(onnx.numpy_helper.to_array(item), bias))
tensorflow_onnx.write = damaged
tell(model, np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype(np.float32))
"""


@pytest.mark.parametrize(
    ("environment", "script", "own", "layer", "before"),
    [
        ("torch", TORCH, "torch", "layer 'body.2' (Linear)", "layer 'body.1' (ReLU)"),
        ("tensorflow", KERAS, "tensorflow", "layer 'think' (Dense)", "layer 'flat' (Flatten)"),
    ],
    ids=["torch", "keras"],
)
def test_the_first_layer_is_named(tmp_path: Path, environment: str, script: str, own: str, layer: str, before: str) -> None:
    make(environment, TELL + script, tmp_path)
    runtime, *said = json.loads((tmp_path / "told.json").read_text())
    assert runtime == own
    failed = [line for line in said if "cause: " in line]
    assert failed, said
    for line in failed:
        assert f"cause: {layer} is the first that differs: the source has " in line, line
        assert f"; up to {before} the two agree" in line, line
        assert ", case '" in line
