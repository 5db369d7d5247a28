"""PyTorch modules of every sort, and the files that tests pack. Run by the interpreter of the environment `torch`, in the folder that the files go to."""

import copy
import sys

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as functional
from torch import nn

ROWS = 24
UNSOUND = {"branching", "forgetful", "holding", "centred"}
"""Without exported forms: each is a trap."""


class Linear(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop, self.last = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.last(self.drop(torch.relu(self.norm(self.first(pixels))))), 1)


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, stride=2)
        self.last = nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.two(torch.relu(self.norm(self.one(image))))).mean((2, 3)))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = nn.LSTM(5, 8, batch_first=True, bidirectional=True), nn.Linear(16, 2)

    def forward(self, steps: torch.Tensor) -> dict[str, torch.Tensor]:
        every, _ = self.cells(steps)
        return {"scores": self.last(every[:, -1]), "states": every}


class Encoder(nn.Module):
    """Self-attention that torch's fast path would take over."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True), 2)
        self.last = nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        every = self.layers(self.embed(ids), src_key_padding_mask=mask == 0)
        weights = mask.unsqueeze(2).to(every.dtype)
        return self.last((every * weights).sum(1) / weights.sum(1))


class Attention(nn.Module):
    """Attention by itself, over steps of which some are filled up."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.last = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, steps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen, _ = self.heads(steps, steps, steps, key_padding_mask=mask == 0, need_weights=False)
        return self.last((seen * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True))


class Centred(nn.Module):
    """Every answer hangs on the rows beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x - x.mean(0, keepdim=True))


class Branching(nn.Module):
    """A branch that hangs on the data: tracing would fix it."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.last(x)
        if bool(x.sum() > 0):
            found = found * 2
        return found


class Forgetful(nn.Module):
    """Dropout as a function that nobody told of inference."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(self.last(x), 0.5)


class Holding(nn.Module):
    """Batch normalisation that is held in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)


MODELS = {
    "linear": Linear,
    "mlp": Mlp,
    "cnn": Cnn,
    "lstm": Lstm,
    "encoder": Encoder,
    "attention": Attention,
    "centred": Centred,
    "branching": Branching,
    "forgetful": Forgetful,
    "holding": Holding,
}


def rows(kind: str, count: int, *, longer: int = 0) -> dict[str, torch.Tensor]:
    """Inputs; `longer` adds to the second axis where it is open."""
    torch.manual_seed(count)
    if kind == "encoder":
        mask = torch.ones(count, 9 + longer, dtype=torch.int64)
        mask[::3, 6:] = 0
        return {"ids": torch.randint(0, 50, (count, 9 + longer)), "mask": mask}
    if kind == "attention":
        mask = torch.ones(count, 7 + longer, dtype=torch.float32)
        mask[::2, 4:] = 0
        return {"steps": torch.randn(count, 7 + longer, 8), "mask": mask}
    shape = {"mlp": (64,), "cnn": (3, 8 + longer, 8 + 2 * longer), "lstm": (7 + longer, 5)}.get(kind, (6,))
    name = {"mlp": "pixels", "cnn": "image", "lstm": "steps", "linear": "input"}.get(kind, "x")
    return {name: torch.randn(count, *shape)}


def taught(kind: str) -> nn.Module:
    """A model after a few steps of training, so that normalisations have learnt something; still in training mode."""
    torch.manual_seed(1)
    model = MODELS[kind]()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3 if list(model.parameters()) else 0):
        answer = model(**rows(kind, ROWS))
        loss = sum(one.square().mean() for one in (answer.values() if isinstance(answer, dict) else [answer]))
        if loss.requires_grad:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def exported(model: nn.Module, kind: str) -> torch.export.ExportedProgram:
    axes = {"lstm": (0, 1), "encoder": (0, 1), "attention": (0, 1), "cnn": (0, 2, 3)}.get(kind, (0,))
    given = rows(kind, 4)
    return torch.export.export(model, (), given, dynamic_shapes={name: dict.fromkeys(axes, torch.export.Dim.AUTO) for name in given})


def write(kind: str) -> None:
    """Everything a test may pack of one model, a sample, and fresh rows of other sizes with torch's own answers."""
    model = taught(kind)
    weights = model.state_dict()
    torch.save(weights, f"{kind}.weights.pt")
    torch.save(model, f"{kind}.whole.pt")
    if kind == "linear":
        torch.save(weights, "linear.legacy.pt", _use_new_zipfile_serialization=False)
    if kind in {"linear", "cnn"}:
        safetensors.torch.save_file(weights, f"{kind}.safetensors")
    if kind == "lstm":
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, "lstm.checkpoint.pt")
    if kind == "mlp":
        training = copy.deepcopy(model)  # tracing asks it, and its normalisation learns from that
        torch.export.save(exported(training, kind), "mlp.training.pt2")
        torch.jit.script(training).save("mlp.script.pt")
        torch.jit.trace(training, tuple(rows(kind, 4).values()), check_trace=False).save("mlp.training.pt")
    model.eval()
    if kind not in UNSOUND:
        torch.export.save(exported(model, kind), f"{kind}.pt2")
        (
            torch.jit.script(model) if kind in {"attention", "encoder", "lstm"} else torch.jit.trace(model, tuple(rows(kind, 4).values()))
        ).save(f"{kind}.pt")
    np.savez(f"{kind}.npz", **{name: tensor.numpy() for name, tensor in rows(kind, ROWS).items()})
    if kind not in UNSOUND:
        answer_fresh(model, kind)


def answer_fresh(model: nn.Module, kind: str) -> None:
    """Rows of other sizes than the sample's, and torch's own answers as anybody would ask for them, the fast path of attention on."""
    for at, (count, longer) in enumerate(((1, 0), (13, 0), (5, 3))):
        fresh = rows(kind, count, longer=longer)
        with torch.no_grad():
            answer = model(**fresh)
        named = answer if isinstance(answer, dict) else {"output": answer}
        np.savez(f"{kind}.fresh{at}.npz", **{name: tensor.numpy() for name, tensor in fresh.items()})
        np.savez(f"{kind}.answers{at}.npz", **{name: tensor.numpy() for name, tensor in named.items()})


if __name__ == "__main__":
    for each in sys.argv[1:] or MODELS:
        write(each)
