"""A person's own module: classes, the data, and training code with the hook. Copied beside the tests' files, run where PyTorch is."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

EPOCHS = 8
torch.set_num_threads(1)


class Mlp(nn.Module):
    def __init__(self, width=256):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, pixels):
        return self.last(torch.relu(self.second(torch.relu(self.first(pixels)))))


class Small(Mlp):
    def __init__(self):
        super().__init__(24)


class Cnn(nn.Module):
    """With all that cutting must see through: normalisation, a residual sum, a depthwise convolution, a flatten over several pixels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.inner = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 1), nn.BatchNorm2d(16))
        self.depth = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.MaxPool2d(2))
        self.last = nn.Sequential(nn.Linear(16 * 16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))

    def forward(self, pixels):
        x = self.stem(pixels.view(-1, 1, 8, 8))
        return self.last(self.depth(torch.relu(x + self.inner(x))).flatten(1))


class Thin(nn.Module):
    """With a depthwise convolution of so few channels that one of them can be left."""

    def __init__(self):
        super().__init__()
        self.stem, self.depth = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.point, self.last = nn.Conv2d(4, 32, 1), nn.Linear(32 * 16, 10)

    def forward(self, pixels):
        x = torch.relu(self.depth(self.stem(pixels.view(-1, 1, 8, 8))))
        return self.last(torch.max_pool2d(torch.relu(self.point(x)), 2).flatten(1))


class Around(nn.Module):
    """Holds another module, and passes on what that answers."""

    def __init__(self, inner, scale=1.0):
        super().__init__()
        self.inner, self.scale = inner, scale

    def forward(self, *given):
        return self.scale * self.inner(*given)


class Recurrent(nn.Module):
    """Nothing in it can be cut."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, pixels):
        return self.last(self.inner(pixels.view(-1, 8, 8))[0][:, -1])


def rows(part):
    with np.load(Path(__file__).with_name("digits.npz")) as found:
        return torch.from_numpy(found[f"x_{part}"]), torch.from_numpy(found[f"y_{part}"])


def accuracy(model, part="valid"):
    model.eval()
    x, y = rows(part)
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def epochs(model, loss_of, after=lambda loss: None, count=EPOCHS, rate=2e-3):
    """The loop that the person always had."""
    x, y = rows("train")
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
    for _ in range(count):
        model.train()
        for at in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            noisy = x[at] + 0.1 * torch.randn_like(x[at])
            loss = loss_of(model(noisy), y[at], noisy)
            loss.backward()
            optimizer.step()
            after(loss)
        schedule.step()
        yield accuracy(model)


def train(model, callbacks, data):
    for metric in epochs(model, callbacks.loss, lambda loss: callbacks.step(loss=loss)):
        callbacks.epoch(metric=metric)


def train_briefly(model, callbacks, data):
    for metric in epochs(model, callbacks.loss, lambda loss: callbacks.step(loss=loss), count=3, rate=1e-3):
        callbacks.epoch(metric=metric)


def train_averaged(model, callbacks, data):
    """Gives back the average of the last epochs, which is another module."""
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for at, _ in enumerate(epochs(model, callbacks.loss, lambda loss: callbacks.step(loss=loss))):
        callbacks.epoch()
        if at > EPOCHS // 2:
            averaged.update_parameters(model)
    return averaged


def train_wrapped(model, callbacks, data):
    train(model, callbacks, data)
    return Around(model)


def train_scaled(model, callbacks, data):
    """Gives back a module that does more."""
    train_briefly(model, callbacks, data)
    return Around(model, 2.0)


def train_another(model, callbacks, data):
    """Gives back a module of other layers."""
    train_briefly(model, callbacks, data)
    return Small()


def train_in_place_of(model, callbacks, data):
    """Puts another layer in the place of one."""
    model.first = nn.Linear(model.first.in_features, model.first.out_features)
    train_briefly(model, callbacks, data)


def untaught(model, callbacks, data):
    """With a loss of its own."""
    for _ in epochs(
        model, lambda output, target, _: nn.functional.cross_entropy(output, target), lambda loss: callbacks.step(loss=loss), count=1
    ):
        callbacks.epoch()


def silent(model, callbacks, data):
    """Tells of nothing."""
    list(epochs(model, lambda output, target, _: nn.functional.cross_entropy(output, target), count=1))


def broken(model, callbacks, data):
    raise KeyError("colour")


def write(kind, count=12):
    """Train one from the start; weights and what it answers to the held-out rows."""
    torch.manual_seed(3)
    model = {"mlp": Mlp, "cnn": Cnn, "recurrent": Recurrent, "thin": Thin}[kind]()
    for _ in epochs(model, lambda output, target, _: nn.functional.cross_entropy(output, target), count=count):
        pass
    torch.save(model.state_dict(), f"{kind}.pt")
    model.eval()
    with torch.no_grad():
        np.savez(f"{kind}.npz", valid=model(rows("valid")[0]).numpy(), test=model(rows("test")[0]).numpy())
