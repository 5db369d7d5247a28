"""Networks for the digits of scikit-learn and the code that trains them, as a person writes it: `--class` and `--train` of `aweigh optimize` name what is here.

Runs where PyTorch is, which has no scikit-learn: the rows come from the file that `bench.optimize.digits` writes.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

PLACE = Path(__file__).parent.parent.parent / ".cache" / "bench" / "optimize"
EPOCHS = {"mlp": 40, "cnn": 24, "depthwise": 24}
RATE = {"mlp": 2e-3, "cnn": 1e-3, "depthwise": 3e-3}


class Mlp(nn.Module):
    """64-512-512-10."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 512), nn.Linear(512, 512), nn.Linear(512, 10)

    def forward(self, pixels):
        return self.last(torch.relu(self.second(torch.relu(self.first(pixels)))))


class Block(nn.Module):
    """The basic block of ResNet."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        self.two = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        self.past = nn.Sequential()
        if stride > 1 or before != after:
            self.past = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        return torch.relu(self.two(torch.relu(self.one(x))) + self.past(x))


class ResNet18(nn.Module):
    """As He et al. have it, 11.2 million weights, for pictures of one channel and ten classes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        strides = [1, 1, 2, 1, 2, 1, 2, 1]
        self.body = nn.Sequential(*(Block(a, b, s) for a, b, s in zip(widths, widths[1:], strides, strict=False)))
        self.last = nn.Linear(512, 10)

    def forward(self, pixels):
        return self.last(self.body(self.stem(pixels)).mean((2, 3)))


def _separable(before, after, stride):
    return [
        nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU6(),
        nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU6(),
    ]  # fmt: skip


class Depthwise(nn.Module):
    """Separable convolutions, as MobileNet has them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
            *_separable(16, 32, 2), *_separable(32, 64, 2), *_separable(64, 64, 1), *_separable(64, 128, 2),
        )  # fmt: skip
        self.last = nn.Linear(128, 10)

    def forward(self, pixels):
        return self.last(self.body(pixels).mean((2, 3)))


NETWORKS = {"mlp": Mlp, "cnn": ResNet18, "depthwise": Depthwise}


def rows(kind, part):
    with np.load(PLACE / f"{kind}.npz") as found:
        return torch.from_numpy(found[f"x_{part}"]), torch.from_numpy(found[f"y_{part}"])


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return float((torch.cat([model(some) for some in x.split(64)]).argmax(1) == y).float().mean())


def moved(x):
    """Each picture turned (10 degrees at the most), of another size (a tenth) and elsewhere (an eighth) by chance, with a little noise. Rows of numbers: the noise alone."""
    if x.dim() < 4:
        return x + 0.1 * torch.randn_like(x)
    angle, size, place = (torch.rand(len(x)) - 0.5) * 0.35, 1 + (torch.rand(len(x)) - 0.5) * 0.2, (torch.rand(len(x), 2) - 0.5) * 0.25
    across, down = size * angle.cos(), size * angle.sin()
    maps = torch.stack([torch.stack([across, -down, place[:, 0]], 1), torch.stack([down, across, place[:, 1]], 1)], 1)
    grid = nn.functional.affine_grid(maps, list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, align_corners=False) + 0.05 * torch.randn_like(x)


def epochs(kind, model, loss_of, after=lambda _: None):
    """The loop that the person always had."""
    x, y = rows(kind, "train")
    held = rows(kind, "valid")
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE[kind], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS[kind])
    for _ in range(EPOCHS[kind]):
        model.train()
        for at in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            seen = moved(x[at])
            loss = loss_of(model(seen), y[at], seen)
            loss.backward()
            optimizer.step()
            after(loss)
        schedule.step()
        yield accuracy(model, *held)


def train(kind, model, callbacks):
    torch.set_num_threads(1)
    for metric in epochs(kind, model, callbacks.loss, lambda loss: callbacks.step(loss=loss)):
        callbacks.epoch(metric=metric)


def train_mlp(model, callbacks, _data):
    train("mlp", model, callbacks)


def train_cnn(model, callbacks, _data):
    train("cnn", model, callbacks)


def write(kind):
    """Train one from the start; the weights of its last epoch."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    model, began = NETWORKS[kind](), time.monotonic()
    for at, metric in enumerate(epochs(kind, model, lambda output, target, _: nn.functional.cross_entropy(output, target))):
        print(f"{kind}: epoch {at + 1}, {metric:.4f}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    torch.save(model.state_dict(), PLACE / f"{kind}.pt")


if __name__ == "__main__":
    write(sys.argv[1])
