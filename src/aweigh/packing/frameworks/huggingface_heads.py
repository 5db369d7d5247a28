"""The part of a Hugging Face model that is written down: the model with what makes its answer of it, as one PyTorch module of tensors alone.

Also how a sentence-transformers folder says that tokens become one embedding. Called by `huggingface_text.py`.
"""

import dataclasses
from typing import Any, Final

import torch

from aweigh.core.errors import Unsupported
from aweigh.packing.frameworks.huggingface_folder import Folder

_POOLING: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}
POOLINGS: Final = frozenset(_POOLING.values())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """How tokens become one embedding, and where that was said."""

    mode: str
    normalized: bool
    said: str


def pooling_of(folder: Folder) -> Pooling:
    """As modules.json and the pooling's own config say; a folder without them is taken as sentence-transformers takes it. Raises Unsupported."""
    modules = folder.json("modules.json")
    if not isinstance(modules, list):
        return Pooling(
            mode="mean", normalized=False, said="no modules.json: the mean of the tokens, as sentence-transformers takes such a folder"
        )
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules if isinstance(module, dict)]
    unknown = [kind for kind in kinds if kind not in {"Transformer", "Pooling", "Normalize"}]
    if unknown or kinds[:2] != ["Transformer", "Pooling"]:
        raise Unsupported(
            f"modules.json: the modules {', '.join(kinds)} are not taken",
            hint="a Transformer, a Pooling and perhaps a Normalize are: export the whole to ONNX",
        )
    place = str(modules[1].get("path", ""))
    if not place or "/" in place or place.startswith("."):
        raise Unsupported(f"modules.json: the pooling lies at {place!r}", hint="save the model again")
    return Pooling(
        mode=_mode(folder.json(f"{place}/config.json"), place),
        normalized="Normalize" in kinds,
        said=f"modules.json and {place}/config.json",
    )


def _mode(config: Any, place: str) -> str:
    config = config if isinstance(config, dict) else {}
    said = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    named = config.get("pooling_mode")
    modes = [_POOLING.get(key, key) for key in said] or (named if isinstance(named, list) else [named] if named else [])
    if len(modes) != 1 or modes[0] not in POOLINGS or config.get("include_prompt") is False:
        raise Unsupported(
            f"{place}/config.json: the pooling {', '.join(map(str, modes)) or 'of no mode'} is not taken",
            hint=f"one of {', '.join(sorted(POOLINGS))} is",
        )
    return str(modes[0])


class Embedding(torch.nn.Module):  # type: ignore[misc]  # untyped library
    """Pooled and normalised, over the tokens that are not filled up."""

    def __init__(self, model: Any, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self.mode = pooling.mode
        self.normalized = pooling.normalized

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        """[rows, size]."""
        hidden = self.model(**_feeds(input_ids, attention_mask, token_type_ids))[0]
        embedding = self._pooled(hidden, attention_mask)
        return torch.nn.functional.normalize(embedding, p=2.0, dim=1) if self.normalized else embedding

    def _pooled(self, hidden: Any, attention_mask: Any) -> Any:
        here = attention_mask.unsqueeze(-1).to(hidden.dtype)
        if self.mode == "cls":
            return hidden[:, 0]
        if self.mode == "max":
            return (hidden * here + (1.0 - here) * -1e9).max(dim=1).values
        count = here.sum(dim=1).clamp(min=1e-9)
        return (hidden * here).sum(dim=1) / (count.sqrt() if self.mode == "mean_sqrt_len_tokens" else count)


class Head(torch.nn.Module):  # type: ignore[misc]  # untyped library
    """A model with a head of its own, and what its scores become: "softmax", "sigmoid", "first" (the only score), "both" (start and end)."""

    def __init__(self, model: Any, becomes: str) -> None:
        super().__init__()
        self.model = model
        self.becomes = becomes

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        """[rows, labels], [rows, tokens, labels], [rows], or twice [rows, tokens]."""
        found = self.model(**_feeds(input_ids, attention_mask, token_type_ids))
        if self.becomes == "both":
            return found[0], found[1]
        return scored(found[0], self.becomes)


def scored(scores: Any, becomes: str) -> Any:
    """What scores become."""
    if becomes == "softmax":
        return torch.softmax(scores, dim=-1)
    if becomes == "sigmoid":
        return torch.sigmoid(scores)
    return torch.sigmoid(scores[:, 0]) if becomes == "first-sigmoid" else scores[:, 0]


def _feeds(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, Any]:
    feeds = {"input_ids": input_ids, "attention_mask": attention_mask, "return_dict": False}
    return feeds if token_type_ids is None else {**feeds, "token_type_ids": token_type_ids}
