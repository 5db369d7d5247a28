"""Makes an ONNX file of a trained PyTorch network for `make frameworks`: `onnx_source.py KIND-FORMAT FOLDER`, run where PyTorch is."""

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from nets import make, rows

kind = sys.argv[1].split("-")[0]
folder = Path(sys.argv[2])
torch.manual_seed(0)
torch.backends.mha.set_fastpath_enabled(False)
model, held = make(kind).eval(), torch.from_numpy(rows(kind))[1500:1596]
file = folder / "model.onnx"
with contextlib.redirect_stdout(sys.stderr):
    torch.onnx.export(model, (held[:5],), str(file), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False)
with torch.no_grad():
    np.savez(folder / "answers.npz", model(held).numpy())
np.savez(folder / "sample.npz", held.numpy())
print(json.dumps({"file": str(file), "sample": str(folder / "sample.npz"), "words": []}))
