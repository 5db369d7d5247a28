"""Makes a PyTorch model of digits for `make frameworks`: `torch_source.py KIND-FORMAT FOLDER`, run where PyTorch is."""

import json
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import torch
from nets import DIGITS, make, rows

kind, form = sys.argv[1].split("-")
folder = Path(sys.argv[2])
torch.manual_seed(0)
torch.set_num_threads(1)  # two threads that wait for one another on a busy machine take hours
model, sample = make(kind), torch.from_numpy(rows(kind))
labels = torch.from_numpy(DIGITS[1])
optimiser = torch.optim.Adam(model.parameters(), 3e-3)
for step in range(60):
    at = slice(step * 25 % 1500, step * 25 % 1500 + 100)
    loss = torch.nn.functional.cross_entropy(model(sample[at]), labels[at])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
model.eval()
held = sample[1500:1596]
with torch.no_grad():
    answers = model(held).numpy()
words: list[str] = []
packed: dict[str, object] = {}
np.savez(folder / "sample.npz", held.numpy())
np.savez(folder / "answers.npz", answers)
if form == "pt2":
    batch = torch.export.Dim("batch", min=2, max=4096)
    file = folder / "model.pt2"
    torch.export.save(torch.export.export(model, (held[:5],), dynamic_shapes=({0: batch},)), file)
elif form == "torchscript":
    file = folder / "model.pt"
    torch.backends.mha.set_fastpath_enabled(False)
    torch.jit.trace(model, held[:5]).save(str(file))
elif form == "live":
    import aweigh
    from aweigh.core.errors import AweighError

    file = Path()
    began = time.process_time()
    try:
        package = aweigh.pack(model, "model", sample=held.numpy(), home=str(folder / "home"))
        packed = {"manifest": json.loads(msgspec.json.encode(package.manifest)), "size_bytes": package.size_bytes}
    except AweighError as error:
        packed = {"refused": error.message}
    packed["seconds"] = time.process_time() - began
else:
    file = folder / "weights.pt"
    torch.save(model.state_dict(), file)
    words = ["--class", f"nets:make_{kind}"]
print(json.dumps({"file": str(file), "sample": str(folder / "sample.npz"), "words": words, "packed": packed}))
