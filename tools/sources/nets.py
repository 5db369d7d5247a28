"""The networks that `make frameworks` trains with PyTorch, of handwritten digits of 8 x 8."""

import numpy as np
import torch
from torch import nn

DIGITS = (np.load(__file__.replace("nets.py", "digits.npz"))["x"], np.load(__file__.replace("nets.py", "digits.npz"))["y"])

PICTURES, STEPS = {"cnn", "depthwise"}, {"rnn", "gru", "transformer"}


def rows(kind: str) -> np.ndarray:
    """The digits as a network of this kind takes them."""
    x = DIGITS[0].astype(np.float32)
    return x.reshape(-1, 1, 8, 8) if kind in PICTURES else x.reshape(-1, 8, 8) if kind in STEPS else x


class Recurrent(nn.Module):
    """The rows of a digit one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 32, batch_first=True, bidirectional=True), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Gated(nn.Module):
    """Two layers of gated units, the last step's states."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(8, 32, num_layers=2, batch_first=True, dropout=0.1), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(x)[0][:, -1])


class Attending(nn.Module):
    """The rows of a digit, each looking at all."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.inner(x)).mean(1))


def make_linear() -> nn.Module:
    """One layer."""
    return nn.Linear(64, 10)


def make_mlp() -> nn.Module:
    """Three layers and a dropout."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def make_cnn() -> nn.Module:
    """Two convolutions and a batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def make_depthwise() -> nn.Module:
    """A convolution of each channel by itself, then one across them, twice."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6(), nn.Conv2d(16, 32, 1),
        nn.Conv2d(32, 32, 3, padding=1, stride=2, groups=32, bias=False), nn.BatchNorm2d(32), nn.ReLU6(), nn.Conv2d(32, 32, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def make_rnn() -> nn.Module:
    """A bidirectional LSTM."""
    return Recurrent()


def make_gru() -> nn.Module:
    """Gated units."""
    return Gated()


def make_transformer() -> nn.Module:
    """Two encoder layers."""
    return Attending()


def make(kind: str) -> nn.Module:
    """The network of a kind."""
    module: nn.Module = globals()[f"make_{kind}"]()
    return module
