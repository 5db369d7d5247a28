"""The last way for a PyTorch module: its class goes into the package as the Python it is, and runs in a process of its own. Called by `torch.py`; only for what is trusted.

The code is the module that --class names, and whatever it imported of the folder that it lies in.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors.torch

from aweigh.core.errors import NotTrusted
from aweigh.core.package import Variant
from aweigh.core.versions import requirements
from aweigh.packing.frameworks.network import Way
from aweigh.packing.hooks import module_files
from aweigh.runtimes.torch import CODE, FACTORY

_WEIGHTS: Final = "variants/torch-eager/weights.safetensors"


def eager_way(model: Any, factory: str, *, trusted: bool) -> Way:
    """The module itself; writing it raises NotTrusted where nobody trusts it."""

    def write(folder: Path) -> Mapping[str, Path]:
        if not trusted:
            raise NotTrusted("the class itself is kept in a package only with --trust: to serve it is to run its code")
        weights = folder / "weights.safetensors"
        safetensors.torch.save_model(model, str(weights))
        return {_WEIGHTS: weights, **own_code(factory.partition(":")[0])}

    variant = Variant(
        name="torch-eager",
        runtime="torch-eager",
        precision="native",
        options={FACTORY: factory},
        environment=requirements(("torch", "safetensors", "numpy")),
    )
    return Way(name="torch itself, the class", write=write, variant=variant, also="torch-eager")


def own_code(module: str) -> dict[str, Path]:
    """The files of a module that was imported, and of those beside it that it imported, by package path. Raises InvalidInput, TooLarge."""
    top = module.partition(".")[0]
    found = module_files(top, CODE)
    root = _root(top)
    for beside in sorted({name.partition(".")[0] for name in sys.modules} - {top, "aweigh"}):
        if root is not None and _root(beside) == root:
            found |= module_files(beside, CODE)
    return found


def _root(name: str) -> Path | None:
    """The folder that a module or package which is imported lies in."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    file = Path(spec.origin).resolve()
    return file.parent.parent if spec.submodule_search_locations is not None else file.parent
