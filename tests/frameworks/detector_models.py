"""Run with PyTorch: a detector of digits trained on composed pictures, and a recommender of two towers; with what they answer themselves."""

import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SIZE, CELLS, CLASSES = 64, 8, 3
GLYPHS = {
    0: ["01110", "10001", "10001", "10001", "10001", "10001", "01110"],
    1: ["00100", "01100", "00100", "00100", "00100", "00100", "01110"],
    2: ["11111", "00001", "00010", "00100", "00010", "00001", "11110"],
}


def glyph(kind: int) -> np.ndarray:
    return np.kron(np.array([[int(dot) for dot in line] for line in GLYPHS[kind]]), np.ones((2, 2)))


def compose(random: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, list[int]]]]:
    """A picture with one to three digits that do not touch, and what is where."""
    picture = random.normal(20, 8, (SIZE, SIZE))
    found: list[tuple[int, list[int]]] = []
    corners = [(x, y) for x in (2, 34) for y in (2, 34)]
    for at in random.permutation(4)[: random.integers(1, 4)]:
        kind, (x, y) = int(random.integers(CLASSES)), corners[at]
        x, y = x + int(random.integers(0, 16)), y + int(random.integers(0, 12))
        shape = glyph(kind)
        picture[y : y + 14, x : x + 10] += shape * random.uniform(150, 220)
        found.append((kind, [x, y, x + 10, y + 14]))
    return np.clip(picture, 0, 255).astype(np.uint8), found


class Detector(nn.Module):
    """One box and a score of each class for each cell of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 4 + CLASSES, 1),
        )  # fmt: skip
        places = torch.arange(CELLS).float() * 8 + 4
        self.register_buffer("middles", torch.stack([places.repeat(CELLS), places.repeat_interleave(CELLS)], dim=1))

    def raw(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.body(pictures).flatten(2).transpose(1, 2)
        middles = self.middles + found[..., :2] * 8
        half = functional.softplus(found[..., 2:4]) * 8
        return torch.cat([middles - half, middles + half], dim=-1), found[..., 4:]

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes, scores = self.raw(pictures)
        return {"boxes": boxes, "scores": torch.sigmoid(scores)}


def train() -> Detector:
    torch.manual_seed(0)
    random, model = np.random.default_rng(0), Detector()
    pictures, wanted, kinds = [], [], []
    for _ in range(500):
        picture, found = compose(random)
        boxes, scores = torch.zeros(CELLS * CELLS, 4), torch.zeros(CELLS * CELLS, CLASSES)
        for kind, box in found:
            cell = int((box[1] + box[3]) / 2 // 8) * CELLS + int((box[0] + box[2]) / 2 // 8)
            boxes[cell], scores[cell, kind] = torch.tensor(box).float(), 1.0
        pictures.append(torch.tensor(picture)[None].float() / 255)
        wanted.append(boxes)
        kinds.append(scores)
    x, boxes, scores = torch.stack(pictures), torch.stack(wanted), torch.stack(kinds)
    steps = torch.optim.Adam(model.parameters(), lr=3e-3)
    for at in range(220):
        some = torch.tensor(random.integers(0, len(x), 32))
        guess, logits = model.raw(x[some])
        here = scores[some].sum(dim=-1) > 0
        loss = functional.binary_cross_entropy_with_logits(logits, scores[some], pos_weight=torch.tensor(5.0)) * 20
        loss = loss + functional.smooth_l1_loss(guess[here], boxes[some][here]) * 0.5
        steps.zero_grad()
        loss.backward()
        steps.step()
        if at == 160:
            steps.param_groups[0]["lr"] = 5e-4
    return model.eval()


class Towers(nn.Module):
    """The five items that lie nearest to a user."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Sequential(nn.Embedding(40, 8), nn.Linear(8, 8))
        self.items = nn.Sequential(nn.Embedding(60, 8), nn.Linear(8, 8))
        self.register_buffer("all_items", torch.arange(60))

    def scores(self, user: torch.Tensor) -> torch.Tensor:
        one, other = (functional.normalize(each, dim=-1) for each in (self.users(user), self.items(self.all_items)))
        return one @ other.T

    def forward(self, user: torch.Tensor) -> dict[str, torch.Tensor]:
        found = torch.topk(self.scores(user), 5)
        return {"scores": found.values, "items": found.indices}


def train_towers() -> Towers:
    """Users like the items whose number leaves the same rest by seven."""
    torch.manual_seed(1)
    model, liked = Towers(), (torch.arange(40)[:, None] % 7 == torch.arange(60)[None, :] % 7).float()
    steps = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        loss = functional.cross_entropy(model.scores(torch.arange(40)) * 8, liked / liked.sum(dim=1, keepdim=True))
        steps.zero_grad()
        loss.backward()
        steps.step()
    return model.eval()


def write() -> None:
    random, model = np.random.default_rng(99), train()
    tested = [compose(random) for _ in range(40)]
    np.savez("pictures.npz", np.stack([picture for picture, _ in tested]))
    with open("truth.json", "w") as file:  # noqa: PTH123
        json.dump([found for _, found in tested], file)
    x = torch.tensor(np.stack([picture for picture, _ in tested]))[:, None].float() / 255
    batch = torch.export.Dim("batch", min=2, max=4096)
    torch.export.save(torch.export.export(model, (x[:3],), dynamic_shapes=({0: batch},)), "detector.pt2")
    towers, users = train_towers(), torch.arange(40)
    with torch.no_grad():
        np.savez("answers.npz", **{name: tensor.numpy() for name, tensor in model(x).items()})
        torch.export.save(torch.export.export(towers, (users[:3],), dynamic_shapes=({0: batch},)), "towers.pt2")
        np.savez("first.npz", **{name: tensor.numpy() for name, tensor in towers(users).items()})
