"""TorchServe's handler of one model: JSON of named tensors in, JSON of named tensors out. Made by `aweigh deploy --to torchserve`; needs torch alone (and safetensors for
weights with their class).

A body is {"inputs": {NAME: nested lists}}, or the lists of the only input. Requests run together only where aweigh.json in the archive says that they may.
"""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch

FACTS = "aweigh_model.json"


class Handler:
    """What TorchServe asks: `handle` with the bodies of one batch, an answer for each."""

    def __init__(self) -> None:
        self.initialized = False

    def initialize(self, context: Any) -> None:
        """Load the model that lies beside this file, on the processor or the card that this worker was given."""
        folder = Path(context.system_properties["model_dir"])
        self.facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        card = context.system_properties.get("gpu_id")
        self.device = f"cuda:{card}" if card is not None and torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        torch.backends.mha.set_fastpath_enabled(False)
        self.module = self._loaded(folder / self.facts["file"]).to(self.device)
        self.initialized = True

    def _loaded(self, file: Path) -> Any:
        if self.facts["kind"] == "torchscript":
            return torch.jit.load(str(file), map_location="cpu").eval()
        if self.facts["kind"] == "program":
            with file.open("rb") as stream:
                return torch.export.load(stream).module()
        import safetensors.torch

        module, _, attribute = self.facts["factory"].partition(":")
        made = getattr(importlib.import_module(module), attribute)()
        safetensors.torch.load_model(made, str(file), device="cpu")
        return made.eval()

    def handle(self, data: Any, context: Any) -> list[Any]:
        """The answers to a batch of requests, in order; one that is wrong is answered with what is wrong."""
        if not self.initialized:
            self.initialize(context)
        asked = [self._asked(each) for each in data or []]
        if self.facts["batches"] and len(asked) > 1 and not any("error" in each for each in asked):
            return self._together(asked)
        return [each if "error" in each else self._answer(each) for each in asked]

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        body = request.get("body", request.get("data"))
        try:
            said = json.loads(body) if isinstance(body, bytes | bytearray | str) else body
            named = said["inputs"] if isinstance(said, dict) else {self.facts["inputs"][0]["name"]: said}
            return {
                each["name"]: torch.tensor(named[each["name"]], dtype=getattr(torch, each["dtype"]), device=self.device)
                for each in self.facts["inputs"]
            }
        except (KeyError, TypeError, ValueError, IndexError) as error:
            return {"error": f"{type(error).__name__}: {error}", "inputs": self.facts["inputs"]}

    def _answer(self, tensors: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"outputs": {name: tensor.tolist() for name, tensor in self._run(tensors).items()}}
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}

    def _together(self, asked: list[dict[str, Any]]) -> list[Any]:
        rows = [len(next(iter(each.values()))) for each in asked]
        try:
            joined = {name: torch.cat([each[name] for each in asked]) for name in asked[0]}
            answers = {name: tensor.split(rows) for name, tensor in self._run(joined).items()}
        except (RuntimeError, ValueError, TypeError, IndexError):  # one of them is wrong: each by itself
            return [self._answer(each) for each in asked]
        return [{"outputs": {name: parts[at].tolist() for name, parts in answers.items()}} for at in range(len(asked))]

    def _run(self, tensors: dict[str, Any]) -> dict[str, Any]:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            named = self.facts["kind"] == "weights"
            answer = self.module(**tensors) if named else self.module(*(tensors[each["name"]] for each in self.facts["inputs"]))
        if isinstance(answer, torch.Tensor):
            answer = [answer]
        if isinstance(answer, dict):
            return {name: answer[name] for name in self.facts["outputs"]}
        return dict(zip(self.facts["outputs"], answer, strict=True))
